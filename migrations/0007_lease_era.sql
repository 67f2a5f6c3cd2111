-- A standby that takes over may know older leases than those that were granted. So a change of the timeline is noted, and
-- for the time of a lease after that nobody takes a shard: whoever held it by the former server has lost it by then.
CREATE TABLE spillway.lease_era (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  timeline text NOT NULL,
  -- When a replica saw it first.
  since timestamptz NOT NULL
);
