-- Replays: old ranges and dead letters that are delivered again, beside the live stream. An application may
-- insert a row as well as `spillway replay` does; the daemon takes it up.

-- Made anew when the source is pointed elsewhere or rebased: a position, and the id of a row, mean nothing in
-- another life.
ALTER TABLE spillway.sources ADD COLUMN life uuid NOT NULL DEFAULT gen_random_uuid();
--> statement-breakpoint
CREATE FUNCTION spillway.source_relived() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.life := gen_random_uuid();
  RETURN NEW;
END
$$;
--> statement-breakpoint
-- After `qualify_relation`, by its name: a relation that is only spelled otherwise is the same.
CREATE TRIGGER source_relived BEFORE UPDATE ON spillway.sources
  FOR EACH ROW WHEN (
    (OLD.relation, OLD.id_column, OLD.ordering, OLD.xact_column)
    IS DISTINCT FROM (NEW.relation, NEW.id_column, NEW.ordering, NEW.xact_column))
  EXECUTE FUNCTION spillway.source_relived();
--> statement-breakpoint
-- Which life of the source they are of; NULL for one that is over or not known.
ALTER TABLE spillway.skipped_ranges ADD COLUMN life uuid;
--> statement-breakpoint
ALTER TABLE spillway.dead_letters ADD COLUMN life uuid;
--> statement-breakpoint
UPDATE spillway.skipped_ranges r SET life = s.life FROM spillway.sources s
WHERE s.log_type = r.log_type AND NOT EXISTS (
  SELECT FROM spillway.skipped_ranges later
  WHERE later.log_type = r.log_type AND later.id >= r.id
    AND later.reason IN ('source_repointed', 'source_deleted', 'source_rewound'));
--> statement-breakpoint
UPDATE spillway.dead_letters d SET life = s.life FROM spillway.sources s
WHERE s.log_type = d.log_type AND NOT EXISTS (
  SELECT FROM spillway.skipped_ranges later
  WHERE later.log_type = d.log_type AND later.created_at >= d.created_at
    AND later.reason IN ('source_repointed', 'source_deleted', 'source_rewound'));
--> statement-breakpoint
CREATE FUNCTION spillway.ledger_inserting() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- The source's row says its new life by then. In the other cases that end one it still says the old one.
  IF NEW.reason <> 'source_repointed' THEN
    SELECT life INTO NEW.life FROM spillway.sources WHERE log_type = NEW.log_type;
  END IF;
  RETURN NEW;
END
$$;
--> statement-breakpoint
CREATE TRIGGER skipped_range_inserting BEFORE INSERT ON spillway.skipped_ranges
  FOR EACH ROW EXECUTE FUNCTION spillway.ledger_inserting();
--> statement-breakpoint
CREATE TRIGGER dead_letter_inserting BEFORE INSERT ON spillway.dead_letters
  FOR EACH ROW EXECUTE FUNCTION spillway.ledger_inserting();
--> statement-breakpoint
-- What was asked for, and what became of it. Outlives its destination, like the other ledgers.
CREATE TABLE spillway.replays (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  destination_id bigint NOT NULL,
  kind text NOT NULL CHECK (kind IN ('range', 'since', 'dead_letters', 'skipped')),
  -- NULL: all of the destination's.
  log_type text,
  -- As in skipped_ranges: after the one, up to and including the other.
  from_position text CHECK (from_position ~ '^-?\d+(/|$)'),
  to_position text CHECK (to_position ~ '^-?\d+(/|$)'),
  -- At or after the one, before the other, by the source's timestamp.
  since timestamptz,
  until timestamptz CHECK (until > since),
  skipped_id bigint,
  requested_by text NOT NULL DEFAULT session_user,
  database_user text NOT NULL DEFAULT session_user,
  application_name text,
  requested_at timestamptz NOT NULL DEFAULT now(),
  state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
  started_at timestamptz,
  finished_at timestamptz,
  -- NULL: not counted yet, or it cannot be known.
  events_expected bigint,
  events_sent bigint NOT NULL DEFAULT 0,
  -- Refused by the destination or too large for it: dead letters.
  events_refused bigint NOT NULL DEFAULT 0,
  -- Older than the destination's type takes: not sent.
  events_too_old bigint NOT NULL DEFAULT 0,
  -- Their rows are gone. Known at the end.
  events_missing bigint NOT NULL DEFAULT 0,
  consecutive_failures integer NOT NULL DEFAULT 0,
  first_failed_at timestamptz,
  next_attempt_at timestamptz,
  last_error text,
  last_error_at timestamptz,
  CHECK (kind <> 'range' OR (log_type IS NOT NULL AND from_position IS NOT NULL AND to_position IS NOT NULL)),
  CHECK (kind <> 'since' OR since IS NOT NULL),
  -- A part of a skipped range must not pass for the whole of it.
  CHECK (kind = 'since' OR (since IS NULL AND until IS NULL)),
  CHECK (kind <> 'skipped' OR skipped_id IS NOT NULL)
);
--> statement-breakpoint
CREATE INDEX replays_active ON spillway.replays (destination_id, id) WHERE state IN ('waiting', 'running');
--> statement-breakpoint
-- How far a replay is, one row a log type. Of dead letters the positions are ids of spillway.dead_letters.
CREATE TABLE spillway.replay_ranges (
  replay_id bigint NOT NULL REFERENCES spillway.replays ON DELETE CASCADE,
  log_type text NOT NULL,
  life uuid NOT NULL,
  from_position text NOT NULL,
  to_position text NOT NULL,
  position text NOT NULL,
  -- Ends of the batches that are frozen beyond the position (I4).
  frozen text[] NOT NULL DEFAULT '{}',
  -- Up to here lies what is left of a refused batch that is being divided, and whether something of it was accepted.
  divided_to text,
  divided_accepted boolean NOT NULL DEFAULT false,
  PRIMARY KEY (replay_id, log_type)
);
--> statement-breakpoint
ALTER TABLE spillway.replays SET (fillfactor = 70);
--> statement-breakpoint
ALTER TABLE spillway.replay_ranges SET (fillfactor = 70);
--> statement-breakpoint
-- Refuses, with a reason for people, what can be told here; the rest is the daemon's to find out. The lock makes
-- two requests for one destination follow each other, so that the second one sees the first.
CREATE FUNCTION spillway.replay_requested() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  target spillway.destinations;
  skipped spillway.skipped_ranges;
  other bigint;
BEGIN
  -- Such a transaction would not see who had the lock before it. (A serializable one would, and fails.)
  IF current_setting('transaction_isolation') = 'repeatable read' THEN
    RAISE EXCEPTION 'A replay cannot be requested in a transaction of the level repeatable read.'
      USING ERRCODE = 'SPRPL', HINT = 'Use read committed or serializable.';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('spillway.replays ' || NEW.destination_id, 0));
  SELECT * INTO target FROM spillway.destinations WHERE id = NEW.destination_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'There is no destination %.', NEW.destination_id USING ERRCODE = 'SPRPL',
      HINT = '`spillway destinations list` shows which there are.';
  END IF;
  IF NOT target.enabled THEN
    RAISE EXCEPTION 'Destination % is disabled; nothing is sent to it.', target.id USING ERRCODE = 'SPRPL',
      HINT = 'Enable it first: `spillway destinations enable ' || target.id || '`.';
  END IF;
  IF NEW.kind = 'skipped' THEN
    SELECT * INTO skipped FROM spillway.skipped_ranges
    WHERE id = NEW.skipped_id AND destination_id = NEW.destination_id;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'Destination % has no skipped range %.', target.id, NEW.skipped_id USING ERRCODE = 'SPRPL',
        HINT = 'spillway.skipped_ranges has them, by destination_id.';
    END IF;
    IF skipped.replayed_at IS NOT NULL THEN
      RAISE EXCEPTION 'The skipped range % was replayed already, on %.', skipped.id, skipped.replayed_at
        USING ERRCODE = 'SPRPL', HINT = 'To send it once more, name its positions with --range.';
    END IF;
    NEW.log_type := skipped.log_type;
    NEW.from_position := skipped.from_position;
    NEW.to_position := skipped.to_position;
  END IF;
  IF NEW.log_type <> ALL (target.log_types) THEN
    RAISE EXCEPTION 'Destination % does not get the log type %.', target.id, NEW.log_type USING ERRCODE = 'SPRPL',
      HINT = 'It gets ' || array_to_string(target.log_types, ', ') || '.';
  END IF;
  IF NEW.kind = 'skipped' AND skipped.life IS DISTINCT FROM (SELECT life FROM spillway.sources WHERE log_type = NEW.log_type) THEN
    RAISE EXCEPTION 'The source of % has been pointed elsewhere or rebased since range % was skipped: its positions mean other rows now.',
      NEW.log_type, skipped.id USING ERRCODE = 'SPRPL', HINT = 'Name what is to be sent by its time, with --since.';
  END IF;
  SELECT r.id INTO other FROM spillway.replays r
  WHERE r.destination_id = NEW.destination_id AND r.state IN ('waiting', 'running')
    AND (r.log_type IS NULL OR NEW.log_type IS NULL OR r.log_type = NEW.log_type)
    AND (r.kind = 'dead_letters') = (NEW.kind = 'dead_letters')
    AND CASE
      WHEN r.to_position IS NOT NULL AND NEW.to_position IS NOT NULL THEN
        -- By the leading number, and so a little too careful inside a transaction of an "xact" source.
        spillway.position_number(r.from_position) <= spillway.position_number(NEW.to_position)
        AND spillway.position_number(NEW.from_position) <= spillway.position_number(r.to_position)
        AND r.from_position <> NEW.to_position AND NEW.from_position <> r.to_position
      WHEN r.kind = 'since' AND NEW.kind = 'since' THEN
        r.since < coalesce(NEW.until, 'infinity') AND NEW.since < coalesce(r.until, 'infinity')
      -- Positions against times: what they have in common is not known here.
      ELSE true
    END
  ORDER BY r.id LIMIT 1;
  IF other IS NOT NULL THEN
    RAISE EXCEPTION 'Replay % of destination % waits or runs, and may send the same events.', other, target.id
      USING ERRCODE = 'SPRPL', HINT = 'Wait for its end, or end it: `spillway replay cancel ' || other || '`.';
  END IF;
  NEW.database_user := session_user;
  NEW.application_name := current_setting('application_name');
  NEW.requested_at := now();
  NEW.state := 'waiting';
  RETURN NEW;
END
$$;
--> statement-breakpoint
CREATE TRIGGER replay_requested BEFORE INSERT ON spillway.replays
  FOR EACH ROW EXECUTE FUNCTION spillway.replay_requested();
--> statement-breakpoint
-- As for the live stream: an edit ends a back-off at once.
CREATE FUNCTION spillway.replayed_destination_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    UPDATE spillway.replays
    SET state = 'failed', finished_at = now(), next_attempt_at = NULL, last_error = 'The destination was deleted.', last_error_at = now()
    WHERE destination_id = OLD.id AND state IN ('waiting', 'running');
  ELSE
    UPDATE spillway.replays SET consecutive_failures = 0, next_attempt_at = NULL
    WHERE destination_id = NEW.id AND state IN ('waiting', 'running') AND next_attempt_at IS NOT NULL;
  END IF;
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER replayed_destination_changed AFTER UPDATE ON spillway.destinations
  FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION spillway.replayed_destination_changed();
--> statement-breakpoint
CREATE TRIGGER replayed_destination_deleted AFTER DELETE ON spillway.destinations
  FOR EACH ROW EXECUTE FUNCTION spillway.replayed_destination_changed();
