-- Cursors of sources with the ordering "xact", whose positions are a transaction and a key ("812/42",
-- "812/'0b9c…"), and what the daemon remembers of a source to notice that it went back in time.

-- Cluster, table and sequence, the last row and the first one, as src/sources/rewind.ts names them.
ALTER TABLE spillway.source_state ADD COLUMN trace jsonb;
--> statement-breakpoint
-- Of an "xact" source, up to start_until: rows of transactions that the snapshot shows are older than the
-- destination.
ALTER TABLE spillway.cursors ADD COLUMN start_snapshot pg_snapshot;
--> statement-breakpoint
-- Made anew whenever a cursor is started or set anew: writes name it, so that what a forwarder knew of a former
-- life of the table moves nothing.
ALTER TABLE spillway.cursors ADD COLUMN life uuid NOT NULL DEFAULT gen_random_uuid();
--> statement-breakpoint
-- The number that a position begins with: the id, or the transaction.
CREATE FUNCTION spillway.position_number(p_position text) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
RETURN substring(p_position FROM '^-?\d+')::numeric;
--> statement-breakpoint
-- The snapshot of "now" for an "xact" source. The inserting transaction itself counts as open: rows that it
-- still writes come with its commit, after the destination. A snapshot lists no open transaction from its xmax
-- on, because all of those are open or still to come; so xmax stays what it is, or some would pass for ended.
CREATE FUNCTION spillway.start_snapshot() RETURNS pg_snapshot
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT (least(pg_snapshot_xmin(s.now)::text::numeric, s.own) || ':' || pg_snapshot_xmax(s.now) || ':'
          || coalesce((SELECT string_agg(o.xid::text, ',' ORDER BY o.xid)
                       FROM (SELECT x::text::numeric FROM pg_snapshot_xip(s.now) AS x
                             UNION SELECT s.own WHERE s.own < pg_snapshot_xmax(s.now)::text::numeric) AS o(xid)), ''))::pg_snapshot
  FROM (SELECT pg_current_snapshot() AS now, pg_current_xact_id()::text::numeric AS own) s;
END;
--> statement-breakpoint
-- As in 0001_triggers.sql, and for both orderings.
CREATE OR REPLACE FUNCTION spillway.seed_cursor(p_destination_id bigint, p_log_type text) RETURNS void
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
  snapshot pg_snapshot;
BEGIN
  SELECT * INTO source FROM spillway.sources s WHERE s.log_type = p_log_type;
  IF NOT FOUND OR (SELECT separate_source FROM spillway.settings) THEN
    RETURN;
  END IF;
  audit_table := to_regclass(source.relation);
  IF audit_table IS NULL THEN
    RETURN;
  END IF;
  IF source.ordering = 'xact' THEN
    snapshot := spillway.start_snapshot();
    INSERT INTO spillway.cursors (destination_id, log_type, position, start_until, start_snapshot)
    VALUES (p_destination_id, p_log_type, pg_snapshot_xmin(snapshot)::text, pg_snapshot_xmax(snapshot)::text, snapshot)
    ON CONFLICT DO NOTHING;
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
-- As in 0001_triggers.sql, and for both orderings; p_xact_column is NULL for the ordering "id". The end of an
-- "xact" source lies behind the transaction of its last row.
DROP FUNCTION spillway.drop_cursors(text, text, text, bigint, text);
--> statement-breakpoint
CREATE FUNCTION spillway.drop_cursors(p_log_type text, p_relation text, p_id_column text, p_xact_column text,
                                      p_destination_id bigint, p_reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  highest text;
BEGIN
  BEGIN
    IF NOT (SELECT separate_source FROM spillway.settings) AND to_regclass(p_relation) IS NOT NULL THEN
      IF p_xact_column IS NOT NULL THEN
        EXECUTE format('SELECT (%1$I::text::numeric + 1)::text FROM %2$s ORDER BY %1$I DESC LIMIT 1',
                       p_xact_column, to_regclass(p_relation)) INTO highest;
      ELSE
        EXECUTE format('SELECT max(%I)::text FROM %s', p_id_column, to_regclass(p_relation)) INTO highest;
      END IF;
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
    AND coalesce(spillway.position_number(coalesce(highest, s.horizon)) > spillway.position_number(c.position),
                 c.position <> '0');
  DELETE FROM spillway.cursors c
  WHERE c.log_type = p_log_type AND (p_destination_id IS NULL OR c.destination_id = p_destination_id);
END
$$;
--> statement-breakpoint
CREATE OR REPLACE FUNCTION spillway.destination_changed() RETURNS trigger
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
  PERFORM spillway.drop_cursors(removed, s.relation, s.id_column, CASE s.ordering WHEN 'xact' THEN s.xact_column END, NEW.id, 'log_type_removed')
  FROM unnest(OLD.log_types) AS removed LEFT JOIN spillway.sources s ON s.log_type = removed
  WHERE removed <> ALL (NEW.log_types);
  PERFORM spillway.seed_cursor(NEW.id, log_type)
  FROM unnest(NEW.log_types) AS log_type
  WHERE log_type <> ALL (OLD.log_types);
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE OR REPLACE FUNCTION spillway.source_repointed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM spillway.drop_cursors(OLD.log_type, OLD.relation, OLD.id_column, CASE OLD.ordering WHEN 'xact' THEN OLD.xact_column END,
                                NULL, 'source_repointed');
  DELETE FROM spillway.source_state WHERE log_type = OLD.log_type;
  PERFORM spillway.seed_cursor(d.id, NEW.log_type)
  FROM spillway.destinations d WHERE NEW.log_type = ANY (d.log_types) AND d.start_from = 'now';
  -- Their forwarders hold positions of the old table: a new version makes the daemon start them anew.
  UPDATE spillway.destinations SET updated_at = now() WHERE NEW.log_type = ANY (log_types);
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE OR REPLACE FUNCTION spillway.source_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM spillway.drop_cursors(OLD.log_type, OLD.relation, OLD.id_column, CASE OLD.ordering WHEN 'xact' THEN OLD.xact_column END,
                                NULL, 'source_deleted');
  RETURN OLD;
END
$$;
--> statement-breakpoint
-- Whether the audit tables are in another database. Cursors that were started before any daemon ran belong to
-- tables that are not read, and start anew. Later ones stay: when the daemon finds that they are of another
-- table, it stops the source (source.rewound) rather than give anything up.
CREATE FUNCTION spillway.set_separate_source(p_separate boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  never_ran boolean := NOT EXISTS (SELECT FROM spillway.source_state);
BEGIN
  PERFORM FROM spillway.settings WHERE separate_source <> p_separate FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF never_ran THEN
    DELETE FROM spillway.cursors;
  END IF;
  UPDATE spillway.settings SET separate_source = p_separate;
  IF never_ran THEN
    PERFORM spillway.seed_cursor(d.id, s.log_type)
    FROM spillway.destinations d JOIN spillway.sources s ON s.log_type = ANY (d.log_types)
    WHERE d.start_from = 'now';
  END IF;
END
$$;
