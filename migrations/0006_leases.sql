-- Replicas share the destinations. Each destination belongs to one of 64 shards, and who holds the lease of a shard
-- delivers for it. All times are this database's.

CREATE TABLE spillway.replicas (
  id uuid PRIMARY KEY,
  -- Of the machine or the container, for people.
  host text NOT NULL,
  version text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  -- It counts as gone from then on, unless it renews.
  expires_at timestamptz NOT NULL
);
--> statement-breakpoint
CREATE TABLE spillway.leases (
  shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
  -- Of spillway.replicas, and no reference: a lease outlives the row of a replica that is leaving.
  owner uuid,
  -- Grows with every change of holder. Each write that delivery makes names it (I3).
  epoch bigint NOT NULL DEFAULT 0,
  expires_at timestamptz NOT NULL DEFAULT '-infinity',
  acquired_at timestamptz
);
--> statement-breakpoint
ALTER TABLE spillway.leases SET (fillfactor = 50);
--> statement-breakpoint
ALTER TABLE spillway.replicas SET (fillfactor = 50);
--> statement-breakpoint
INSERT INTO spillway.leases (shard) SELECT generate_series(0, 63);
--> statement-breakpoint
-- Ids come from a sequence: the remainder spreads them more evenly than a hash would.
CREATE FUNCTION spillway.shard_of(destination_id bigint) RETURNS smallint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (((destination_id % 64) + 64) % 64)::smallint
$$;
