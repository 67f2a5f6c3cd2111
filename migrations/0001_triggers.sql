-- What happens inside the database when an operator writes a row: cursors start at "now" in the very
-- statement that inserts the destination, an edit ends a back-off, and the daemon learns of the change.

-- Starts a destination's cursor for one log type at "now": every row that commits after this statement
-- lies beyond it. Does nothing where "now" cannot be told here (source missing, unusable, or in another
-- database); the daemon then seeds the cursor when it takes the destination up.
--
-- The highest visible id is "now" unless a transaction still open has drawn a lower one. Such a transaction
-- holds a lock on a sequence (see docs/ARCHITECTURE.md, "Horizon"). Then the cursor starts lower, at the
-- horizon the daemon last stored, and what is there already above it is left out: the ids seen now, and
-- whatever was written by transactions before the oldest open one.
CREATE FUNCTION spillway.seed_cursor(p_destination_id bigint, p_log_type text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  source spillway.sources;
  audit_table regclass;
  highest bigint;
  lowest bigint;
  stored_horizon text;
  writers_open boolean;
  start bigint;
  seen int8multirange;
BEGIN
  SELECT * INTO source FROM spillway.sources s WHERE s.log_type = p_log_type AND s.ordering = 'id';
  IF NOT FOUND OR (SELECT separate_source FROM spillway.settings) THEN
    RETURN;
  END IF;
  audit_table := to_regclass(source.relation);
  IF audit_table IS NULL THEN
    RETURN;
  END IF;
  EXECUTE format('SELECT max(%1$I)::bigint, min(%1$I)::bigint FROM %2$s', source.id_column, audit_table)
    INTO highest, lowest;
  -- Any sequence counts, not only this table's: which one feeds the ids is the daemon's knowledge, and
  -- looking at too many only starts the cursor a little lower.
  SELECT EXISTS (
    SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (c.relkind = 'S' OR c.oid IN (SELECT relid FROM pg_partition_tree(audit_table)) OR c.oid = audit_table)
      -- Those that this very statement, or the one that caused it, may have drawn from.
      AND c.oid NOT IN (pg_get_serial_sequence('spillway.destinations', 'id')::regclass,
                        pg_get_serial_sequence('spillway.skipped_ranges', 'id')::regclass)
  ) INTO writers_open;
  SELECT horizon INTO stored_horizon FROM spillway.source_state WHERE log_type = p_log_type;
  start := coalesce(highest, 0);
  IF writers_open AND highest IS NOT NULL THEN
    -- A horizon above every row belongs to a former life of the table.
    start := CASE WHEN stored_horizon::bigint <= highest THEN stored_horizon::bigint ELSE least(0, lowest - 1) END;
    -- Bounded, because the insert waits for it. Rows further back are as good as surely older than start_xid.
    EXECUTE format('SELECT range_agg(int8range(%1$I, %1$I, ''[]'')) FROM %2$s WHERE %1$I > $1',
                   source.id_column, audit_table)
      INTO seen USING greatest(start, highest - 100000);
  END IF;
  INSERT INTO spillway.cursors (destination_id, log_type, position, start_until, start_xid, start_seen)
  VALUES (
    p_destination_id,
    p_log_type,
    start::text,
    CASE WHEN writers_open THEN coalesce(highest, 0)::text END,
    CASE WHEN writers_open THEN pg_snapshot_xmin(pg_current_snapshot()) END,
    CASE WHEN writers_open THEN coalesce(seen, '{}') END
  )
  ON CONFLICT DO NOTHING;
EXCEPTION WHEN serialization_failure OR deadlock_detected THEN
  RAISE;
WHEN OTHERS THEN
  -- The source is unusable as it is registered. The daemon says so; the insert must not fail for it.
  RETURN;
END
$$;
--> statement-breakpoint
-- Ends cursors whose positions mean nothing any more. What they had not settled yet is recorded (I5); how many
-- events that are cannot be known, since some may not have appeared.
CREATE FUNCTION spillway.drop_cursors(p_log_type text, p_relation text, p_id_column text,
                                      p_destination_id bigint, p_reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  highest text;
BEGIN
  BEGIN
    IF NOT (SELECT separate_source FROM spillway.settings) AND to_regclass(p_relation) IS NOT NULL THEN
      EXECUTE format('SELECT max(%I)::text FROM %s', p_id_column, to_regclass(p_relation)) INTO highest;
    END IF;
  EXCEPTION WHEN serialization_failure OR deadlock_detected THEN
    RAISE;
  WHEN OTHERS THEN
    -- The relation is no table that can be read: how far it went is not known.
    highest := NULL;
  END;
  INSERT INTO spillway.skipped_ranges (destination_id, log_type, from_position, to_position, event_count, reason)
  SELECT c.destination_id, c.log_type, c.position, coalesce(highest, s.horizon, c.position), NULL, p_reason
  FROM spillway.cursors c LEFT JOIN spillway.source_state s USING (log_type)
  WHERE c.log_type = p_log_type AND (p_destination_id IS NULL OR c.destination_id = p_destination_id)
    AND coalesce(coalesce(highest, s.horizon)::bigint > c.position::bigint, c.position <> '0');
  DELETE FROM spillway.cursors c
  WHERE c.log_type = p_log_type AND (p_destination_id IS NULL OR c.destination_id = p_destination_id);
END
$$;
--> statement-breakpoint
CREATE FUNCTION spillway.destination_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO spillway.delivery_state (destination_id, status, disabled_at)
  VALUES (NEW.id,
          CASE WHEN NEW.enabled THEN 'active' ELSE 'disabled' END,
          CASE WHEN NEW.enabled THEN NULL ELSE now() END);
  IF NEW.start_from = 'now' THEN
    PERFORM spillway.seed_cursor(NEW.id, log_type) FROM unnest(NEW.log_types) AS log_type;
  END IF;
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER destination_inserted AFTER INSERT ON spillway.destinations
  FOR EACH ROW EXECUTE FUNCTION spillway.destination_inserted();
--> statement-breakpoint
-- Serves destinations and sources: a new version that the daemon's poll finds by its transaction id.
CREATE FUNCTION spillway.row_changing() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.updated_at := now();
  NEW.changed_xid := pg_current_xact_id();
  IF TG_TABLE_NAME = 'destinations' THEN
    NEW.version := OLD.version + 1;
  END IF;
  RETURN NEW;
END
$$;
--> statement-breakpoint
CREATE TRIGGER destination_changing BEFORE UPDATE ON spillway.destinations
  FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION spillway.row_changing();
--> statement-breakpoint
CREATE TRIGGER source_changing BEFORE UPDATE ON spillway.sources
  FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION spillway.row_changing();
--> statement-breakpoint
-- An edit ends a back-off at once. first_failed_at stays: only an accepted batch ends a failure, so that
-- edits cannot keep a backlog alive beyond its maximum age.
CREATE FUNCTION spillway.destination_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.enabled AND NOT OLD.enabled THEN
    -- The daemon judges by it whether the backlog is too old.
    UPDATE spillway.cursors c SET disabled_for_ms = extract(epoch FROM now() - s.disabled_at) * 1000
    FROM spillway.delivery_state s WHERE s.destination_id = NEW.id AND c.destination_id = NEW.id;
  END IF;
  UPDATE spillway.delivery_state SET
    -- Whether an invalid row is mended is for the daemon to judge.
    status = CASE WHEN NOT NEW.enabled THEN 'disabled' WHEN status = 'invalid' THEN status ELSE 'active' END,
    consecutive_failures = 0,
    next_attempt_at = NULL,
    disabled_at = CASE WHEN NEW.enabled THEN NULL ELSE coalesce(disabled_at, now()) END
  WHERE destination_id = NEW.id;
  PERFORM spillway.drop_cursors(removed, s.relation, s.id_column, NEW.id, 'log_type_removed')
  FROM unnest(OLD.log_types) AS removed LEFT JOIN spillway.sources s ON s.log_type = removed
  WHERE removed <> ALL (NEW.log_types);
  PERFORM spillway.seed_cursor(NEW.id, log_type)
  FROM unnest(NEW.log_types) AS log_type
  WHERE log_type <> ALL (OLD.log_types);
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER destination_changed AFTER UPDATE ON spillway.destinations
  FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION spillway.destination_changed();
--> statement-breakpoint
-- A table named without its schema is the one that its writer sees; the daemon and the triggers have search
-- paths of their own. Names that mean nothing in this database stay as they are.
CREATE FUNCTION spillway.qualify_relation() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  qualified text;
BEGIN
  SELECT format('%I.%I', n.nspname, c.relname) INTO qualified
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = pg_catalog.to_regclass(NEW.relation);
  NEW.relation := coalesce(qualified, NEW.relation);
  RETURN NEW;
END
$$;
--> statement-breakpoint
CREATE TRIGGER qualify_relation BEFORE INSERT OR UPDATE OF relation ON spillway.sources
  FOR EACH ROW EXECUTE FUNCTION spillway.qualify_relation();
--> statement-breakpoint
-- A source that is pointed at another table, or ordered otherwise, has other positions: cursors on the old
-- ones mean nothing any more. What they still had to deliver is recorded (I5), and they start anew at "now".
CREATE FUNCTION spillway.source_repointed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM spillway.drop_cursors(OLD.log_type, OLD.relation, OLD.id_column, NULL, 'source_repointed');
  DELETE FROM spillway.source_state WHERE log_type = OLD.log_type;
  PERFORM spillway.seed_cursor(d.id, NEW.log_type)
  FROM spillway.destinations d WHERE NEW.log_type = ANY (d.log_types) AND d.start_from = 'now';
  -- Their forwarders hold positions of the old table: a new version makes the daemon start them anew.
  UPDATE spillway.destinations SET updated_at = now() WHERE NEW.log_type = ANY (log_types);
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER source_repointed AFTER UPDATE ON spillway.sources
  FOR EACH ROW WHEN (
    (OLD.relation, OLD.id_column, OLD.ordering, OLD.xact_column)
    IS DISTINCT FROM (NEW.relation, NEW.id_column, NEW.ordering, NEW.xact_column))
  EXECUTE FUNCTION spillway.source_repointed();
--> statement-breakpoint
-- A destination may name a log type before its source is registered; its cursor starts when that happens.
CREATE FUNCTION spillway.source_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM spillway.seed_cursor(d.id, NEW.log_type)
  FROM spillway.destinations d WHERE NEW.log_type = ANY (d.log_types) AND d.start_from = 'now';
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER source_inserted AFTER INSERT ON spillway.sources
  FOR EACH ROW EXECUTE FUNCTION spillway.source_inserted();
--> statement-breakpoint
-- Registered anew, the log type may be another table.
CREATE FUNCTION spillway.source_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM spillway.drop_cursors(OLD.log_type, OLD.relation, OLD.id_column, NULL, 'source_deleted');
  RETURN OLD;
END
$$;
--> statement-breakpoint
CREATE TRIGGER source_deleted BEFORE DELETE ON spillway.sources
  FOR EACH ROW EXECUTE FUNCTION spillway.source_deleted();
