/** A table `ev`, with rows, of months that are partitioned by tenant once more, beside one that is not. */
export const nestedPartitions = `
  CREATE TABLE ev (id bigserial, org_id text, at timestamptz NOT NULL DEFAULT now(), m int, PRIMARY KEY (id, m, org_id)) PARTITION BY LIST (m);
  CREATE INDEX ON ev (org_id, id);
  ${[0, 1, 2]
    .map(
      (month) => `
  CREATE TABLE ev_${month} PARTITION OF ev FOR VALUES IN (${month}) PARTITION BY LIST (org_id);
  CREATE TABLE ev_${month}_acme PARTITION OF ev_${month} FOR VALUES IN ('acme');
  CREATE TABLE ev_${month}_others PARTITION OF ev_${month} DEFAULT;`,
    )
    .join('')}
  CREATE TABLE ev_3 PARTITION OF ev FOR VALUES IN (3);
  INSERT INTO ev (org_id, m) SELECT 'acme', g % 3 FROM generate_series(1, 30) g`
