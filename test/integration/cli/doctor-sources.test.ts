import { describe, expect, test } from 'vitest'
import type { HazardCode } from '../../../src/cli/doctor/codes.ts'
import {
  columns,
  doctor,
  healthyId,
  healthyXact,
  id,
  orgIndex,
  patient,
  type Registered,
} from './doctoring.ts'

interface Hazard {
  readonly name: string
  readonly ddl: string
  readonly finds: string
  /** What the remedy has to say. */
  readonly mends: RegExp
  /** What the message has to say. */
  readonly says?: RegExp
  readonly registered?: Registered
}

const xact: Registered = { ordering: 'xact' }
const bare = `CREATE TABLE audit (${id}, ${columns})`
const withoutDefault = healthyXact.replace('DEFAULT pg_current_xact_id()', '')

const found: readonly Hazard[] = [
  {
    name: 'a table that is not there',
    ddl: '',
    finds: 'problem source.missing',
    mends: /sources\.relation/,
  },
  {
    name: 'a view',
    ddl: `CREATE TABLE real (${id}, ${columns}); CREATE VIEW audit AS SELECT * FROM real`,
    finds: 'problem source.not_a_table',
    mends: /table behind it/,
  },
  {
    name: 'a column that is not there',
    ddl: healthyId,
    registered: { timestamp: 'when' },
    finds: 'problem source.columns',
    mends: /Its columns are id, org_id, at/,
  },
  {
    name: 'ids without an order',
    ddl: `CREATE TABLE audit (id uuid PRIMARY KEY, ${columns})`,
    finds: 'problem ids.type',
    mends: /ADD COLUMN xact xid8/,
  },
  {
    name: 'a table that a subscription fills',
    ddl: `${healthyId}; INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) VALUES (1, 'audit'::regclass, 'r')`,
    finds: 'problem source.replicated',
    mends: /publisher/,
  },
  {
    name: 'a sequence with a cache',
    ddl: `${healthyId}; ALTER SEQUENCE audit_id_seq CACHE 20`,
    finds: 'problem sequence.cache',
    says: /CACHE 20/,
    mends: /ALTER SEQUENCE \S+ CACHE 1/,
  },
  {
    name: 'a sequence that counts downwards',
    ddl: `CREATE SEQUENCE down INCREMENT -1; CREATE TABLE audit (id bigint DEFAULT nextval('down'), ${columns})`,
    finds: 'problem sequence.direction',
    mends: /counts upwards/,
  },
  {
    name: 'a sequence that starts again',
    ddl: `${healthyId}; ALTER SEQUENCE audit_id_seq CYCLE`,
    finds: 'problem sequence.cycle',
    mends: /NO CYCLE/,
  },
  {
    name: 'partitions with sequences of their own',
    ddl: `
      CREATE TABLE audit (id bigserial, ${columns}) PARTITION BY LIST (org_id);
      CREATE TABLE apart (id bigserial, ${columns});
      ALTER TABLE audit ATTACH PARTITION apart FOR VALUES IN ('a')`,
    finds: 'problem sequence.several',
    mends: /SET DEFAULT nextval/,
  },
  {
    name: 'a sequence that cannot be followed',
    ddl: `CREATE SEQUENCE hidden; CREATE TABLE audit (id bigint DEFAULT nextval('hidden'::text), ${columns})`,
    finds: 'problem sequence.untracked',
    mends: /::regclass/,
  },
  {
    name: 'rows without an id',
    ddl: `CREATE TABLE audit (id bigint, ${columns}); INSERT INTO audit VALUES (NULL, 'a')`,
    finds: 'problem ids.null',
    mends: /SET NOT NULL/,
  },
  {
    name: 'an xact column that may be NULL',
    ddl: healthyXact.replace('xid8 NOT NULL', 'xid8'),
    registered: xact,
    finds: 'problem xact.column',
    mends: /ADD COLUMN xact xid8 NOT NULL/,
  },
  {
    name: 'an xact column without default',
    ddl: withoutDefault,
    registered: xact,
    finds: 'problem xact.default',
    mends: /SET DEFAULT pg_current_xact_id\(\)/,
  },
  {
    name: 'an xact column without default and with a trigger',
    ddl: `${withoutDefault};
      CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.xact := pg_current_xact_id(); RETURN NEW; END $$;
      CREATE TRIGGER stamp BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION stamp()`,
    registered: xact,
    finds: 'warning xact.default',
    says: /trigger stamp/,
    mends: /SET DEFAULT pg_current_xact_id\(\)/,
  },
  {
    name: 'no index for the orgs of an empty table',
    ddl: bare,
    finds: 'warning index.org',
    mends: /CREATE INDEX CONCURRENTLY ON \S*audit \("org_id", "id"\);/,
  },
  {
    name: 'no index for the orgs of a tiny table',
    ddl: `${bare}; INSERT INTO audit (org_id) SELECT 'a' FROM generate_series(1, 3); ANALYZE audit`,
    finds: 'warning index.org',
    says: /about 3 rows/,
    mends: /CREATE INDEX CONCURRENTLY/,
  },
  {
    name: 'no index for the orgs of a large table',
    ddl: `${bare}; INSERT INTO audit (org_id) VALUES ('a');
      UPDATE pg_class SET reltuples = 2000000 WHERE oid = 'audit'::regclass`,
    finds: 'problem index.org',
    says: /about 2,000,000 rows/,
    mends: /CREATE INDEX CONCURRENTLY/,
  },
  {
    name: 'an index for the orgs that is not in order',
    ddl: `${bare}; CREATE INDEX ON audit (org_id); CREATE INDEX ON audit (org_id, at)`,
    finds: 'warning index.org',
    mends: /\("org_id", "id"\)/,
  },
  {
    name: 'an index for the orgs that is not valid',
    ddl: `${healthyId}; UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'audit_org_id_id_idx'::regclass`,
    finds: 'warning index.org',
    mends: /CREATE INDEX CONCURRENTLY/,
  },
  {
    name: 'an index for the orgs that leaves rows out',
    ddl: `${bare}; CREATE INDEX ON audit (org_id, id) WHERE org_id <> 'b'`,
    finds: 'warning index.org',
    mends: /CREATE INDEX CONCURRENTLY/,
  },
  {
    name: 'a partitioned table without an index for its orgs',
    ddl: `
      CREATE TABLE audit (${id}, ${columns}) PARTITION BY RANGE (id);
      CREATE TABLE low PARTITION OF audit FOR VALUES FROM (0) TO (1000);
      CREATE TABLE high PARTITION OF audit FOR VALUES FROM (1000) TO (2000);
      CREATE INDEX ON low (org_id, id)`,
    finds: 'warning index.org',
    mends: /ON ONLY/,
  },
  {
    name: 'no index for the order',
    ddl: `CREATE TABLE audit (id bigint GENERATED BY DEFAULT AS IDENTITY, ${columns}); ${orgIndex}; CREATE UNIQUE INDEX ON audit USING btree (id) WHERE false`,
    finds: 'warning ids.not_unique, warning index.order',
    mends: /CREATE INDEX CONCURRENTLY ON \S*audit \("id"\);/,
  },
  {
    name: 'no index for the order of transactions',
    ddl: healthyXact.replace('CREATE INDEX ON audit (xact, id);', ''),
    registered: xact,
    finds: 'warning index.order',
    mends: /\("xact", "id"\)/,
  },
  {
    name: 'text keys whose index has another collation',
    ddl: `
      CREATE TABLE audit (id text PRIMARY KEY, ${columns}, xact xid8 NOT NULL DEFAULT pg_current_xact_id());
      CREATE INDEX ON audit (xact, id); CREATE INDEX ON audit (org_id, id)`,
    registered: xact,
    finds: 'warning index.org',
    mends: /\("org_id", "xact", "id" COLLATE "C"\)/,
  },
  {
    name: 'ids that are inserted beside the sequence',
    ddl: `${healthyId}; INSERT INTO audit (org_id) VALUES ('a'); INSERT INTO audit (id, org_id) VALUES (5000, 'a')`,
    finds: 'problem ids.beyond_sequence',
    says: /highest id is 5000.*no more than 1:/,
    mends: /setval\('public\.audit_id_seq'|setval\('audit_id_seq'/,
  },
  {
    name: 'ids that the application makes',
    ddl: `CREATE TABLE audit (id bigint PRIMARY KEY, ${columns}); ${orgIndex}`,
    finds: 'warning ids.without_sequence',
    mends: /GENERATED ALWAYS AS IDENTITY/,
  },
  {
    name: 'ids that were drawn in blocks',
    // Two sessions with a block of 50 each, which take turns.
    ddl: `${healthyId};
      INSERT INTO audit (id, org_id, at)
      SELECT g % 2 * 50 + g / 2 + 1, 'a', now() - interval '3 hours' + g * interval '1 min' FROM generate_series(0, 99) g;
      SELECT setval('audit_id_seq', 100)`,
    finds: 'warning ids.out_of_step',
    says: /last 100 rows 4\d \(4\d %\).*up to 1 h/,
    mends: /allocationSize/,
  },
  {
    name: 'ids that nothing keeps from being used twice',
    ddl: `CREATE TABLE audit (${id.replace(' PRIMARY KEY', '')}, ${columns}); CREATE INDEX ON audit (id); ${orgIndex}`,
    finds: 'warning ids.not_unique',
    mends: /CREATE UNIQUE INDEX CONCURRENTLY/,
  },
  {
    name: 'ids that were used twice',
    ddl: `CREATE TABLE audit (${id.replace(' PRIMARY KEY', '')}, ${columns}); CREATE INDEX ON audit (id); ${orgIndex};
      INSERT INTO audit (org_id) VALUES ('a'), ('a'); INSERT INTO audit (id) VALUES (2)`,
    finds: 'problem ids.duplicate',
    says: /2 rows have the id 2/,
    mends: /CREATE UNIQUE INDEX/,
  },
  {
    name: 'timestamps of the future',
    ddl: `${healthyId}; INSERT INTO audit (at) SELECT now() + interval '1 h' FROM generate_series(1, 3)`,
    finds: 'warning timestamps.future',
    says: /3 of the last 3 rows/,
    mends: /clock/,
  },
  {
    name: 'timestamps in another unit',
    ddl: `${healthyId}; INSERT INTO audit (at) SELECT to_timestamp(extract(epoch FROM now()) / 1000) FROM generate_series(1, 2)`,
    finds: 'warning timestamps.past',
    says: /2 of the last 2 rows.*1970/,
    mends: /unit/,
  },
  {
    name: 'no timestamps',
    ddl: `${healthyId.replace('NOT NULL DEFAULT now()', '')}; INSERT INTO audit (org_id) VALUES ('a')`,
    finds: 'warning timestamps.past',
    mends: /SET NOT NULL/,
  },
  {
    name: 'a source that nobody forwards',
    ddl: healthyId,
    registered: { forwarded: false },
    finds: 'warning source.unforwarded',
    mends: /destinations add --log-types test/,
  },
]

describe('doctor finds', () => {
  test.each(found)('$name', async ({ ddl, registered, finds, says, mends }) => {
    const { url } = await patient(ddl, registered)
    const seen = await doctor({ DATABASE_URL: url })
    expect(seen.hazards.join(', ')).toBe(finds)
    expect(seen.code).toBe(finds.includes('problem') ? 1 : 0)
    const code = finds.split(' ').at(-1) as HazardCode // the codes above
    const finding = seen.find(code)
    expect(finding.subject).toEqual({ kind: 'source', name: 'test' })
    expect(finding.remedy).toMatch(mends)
    if (says) expect(finding.message).toMatch(says)
  })
})

describe('doctor finds no fault with', () => {
  test.each([
    ['a plain table', healthyId, {}],
    [
      'rows in it',
      `${healthyId}; INSERT INTO audit (org_id) SELECT 'o' || g FROM generate_series(1, 2000) g; ANALYZE audit`,
      {},
    ],
    [
      'a table whose rows are all of one org',
      `${healthyId}; INSERT INTO audit (org_id) SELECT 'only' FROM generate_series(1, 2000) g; ANALYZE audit`,
      {},
    ],
    ['one row', `${healthyId}; INSERT INTO audit (org_id) VALUES ('a'); ANALYZE audit`, {}],
    ['an index downwards', `${bare}; CREATE INDEX ON audit (org_id DESC, id DESC)`, {}],
    ['an index whose org rises and whose id falls', `${bare}; CREATE INDEX ON audit (org_id, id DESC)`, {}],
    ['a table without orgs', bare, { org: null }],
    [
      'partitions',
      `CREATE TABLE audit (${id.replace(' PRIMARY KEY', '')}, ${columns}, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
       CREATE TABLE low PARTITION OF audit FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
       CREATE TABLE high PARTITION OF audit FOR VALUES FROM ('2020-01-01') TO (MAXVALUE); ${orgIndex};
       INSERT INTO audit (org_id) SELECT 'a' FROM generate_series(1, 10)`,
      {},
    ],
    [
      'transactions',
      `${healthyXact}; INSERT INTO audit (org_id) SELECT 'a' FROM generate_series(1, 10)`,
      xact,
    ],
    [
      'text keys in the order of their bytes',
      `CREATE TABLE audit (id text PRIMARY KEY, ${columns}, xact xid8 NOT NULL DEFAULT pg_current_xact_id());
       CREATE INDEX ON audit (xact, id COLLATE "C"); CREATE INDEX ON audit (org_id, xact, id COLLATE "C")`,
      xact,
    ],
    [
      'timestamps that are numbers',
      `CREATE TABLE audit (${id}, org_id text, at bigint); ${orgIndex};
       INSERT INTO audit (at) SELECT extract(epoch FROM now()) * 1000 + g FROM generate_series(1, 9) g`,
      {},
    ],
    [
      'orgs that are numbers',
      `${healthyId.replace('org_id text', 'org_id int')}; INSERT INTO audit (org_id) VALUES (7)`,
      {},
    ],
    ['orgs that are uuids', healthyId.replace('org_id text', 'org_id uuid'), {}],
  ] as const)('%s', async (_, ddl, registered) => {
    const { url } = await patient(ddl, registered)
    expect(await doctor({ DATABASE_URL: url })).toMatchObject({ hazards: [], code: 0 })
  })

  test('its own tables, which nobody forwards while they are empty', async () => {
    const database = await patient(healthyId)
    await database.sql`INSERT INTO spillway.request_audit_log (org_id) VALUES ('acme')`
    const seen = await doctor({ DATABASE_URL: database.url })
    expect(seen.hazards).toEqual(['warning source.unforwarded'])
    expect(seen.find('source.unforwarded').subject.name).toBe('request')
  })
})
