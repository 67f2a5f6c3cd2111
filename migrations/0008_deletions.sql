-- The transactions that deleted destinations. The daemon's poll asks for them as it does for changed rows, and need not
-- count all destinations to find that some are gone.
CREATE TABLE spillway.destination_deletions (
  xid xid8 PRIMARY KEY,
  deleted_at timestamptz NOT NULL DEFAULT now()
);
--> statement-breakpoint
CREATE FUNCTION spillway.destination_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO spillway.destination_deletions (xid) VALUES (pg_current_xact_id()) ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
--> statement-breakpoint
-- For each row: what logical replication applies fires no trigger of a statement.
CREATE TRIGGER destination_deleted AFTER DELETE ON spillway.destinations
  FOR EACH ROW EXECUTE FUNCTION spillway.destination_deleted();
--> statement-breakpoint
ALTER TABLE spillway.destinations ENABLE ALWAYS TRIGGER destination_deleted;
--> statement-breakpoint
CREATE TRIGGER destinations_truncated AFTER TRUNCATE ON spillway.destinations
  FOR EACH STATEMENT EXECUTE FUNCTION spillway.destination_deleted();
--> statement-breakpoint
ALTER TABLE spillway.destinations ENABLE ALWAYS TRIGGER destinations_truncated;
