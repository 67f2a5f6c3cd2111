-- A table partitioned by month. Since February 2026 a month is divided by tenant once more; January is not.
CREATE TABLE audit_events (
  id bigserial,
  org_id text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  actor text,
  action text NOT NULL,
  details jsonb,
  PRIMARY KEY (id, created_at, org_id)
) PARTITION BY RANGE (created_at);
CREATE TABLE audit_events_2026_01 PARTITION OF audit_events
  FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-02-01 00:00:00+00');
CREATE TABLE audit_events_2026_02 PARTITION OF audit_events
  FOR VALUES FROM ('2026-02-01 00:00:00+00') TO ('2026-03-01 00:00:00+00') PARTITION BY HASH (org_id);
CREATE TABLE audit_events_2026_02_0 PARTITION OF audit_events_2026_02 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE audit_events_2026_02_1 PARTITION OF audit_events_2026_02 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
