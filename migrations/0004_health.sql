-- What an application shows its customers beside the state: how far a destination is behind, and what became of
-- its events.

-- lag_events counts to a limit (src/delivery/lag.ts), from which on there are at least so many. Both figures are NULL
-- where the lag is not known, as of a destination that is disabled; lag_at is when they last changed.
ALTER TABLE spillway.delivery_state
  ADD COLUMN lag_events bigint,
  ADD COLUMN lag_seconds double precision,
  ADD COLUMN lag_at timestamptz,
  -- Since the destination was made, or since these columns were. Written with the cursor.
  ADD COLUMN events_delivered bigint NOT NULL DEFAULT 0,
  ADD COLUMN events_skipped bigint NOT NULL DEFAULT 0,
  ADD COLUMN events_dead_lettered bigint NOT NULL DEFAULT 0,
  ADD COLUMN batches_delivered bigint NOT NULL DEFAULT 0;
