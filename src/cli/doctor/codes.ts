/**
 * Every hazard that `spillway doctor` knows. The codes are stable; docs/OPERATIONS.md has this table, made by
 * `npm run docs`. `problem`: something will be lost or stand still. `warning`: it will hurt.
 */
export type Grade = 'warning' | 'problem'

export interface Hazard {
  readonly grades: readonly Grade[]
  readonly meaning: string
  readonly remedy: string
}

const problem: readonly Grade[] = ['problem']
const warning: readonly Grade[] = ['warning']

export const hazards = {
  'server.unreachable': {
    grades: problem,
    meaning: 'The database with the audit tables cannot be reached.',
    remedy: 'What the message says; the address is from `SPILLWAY_SOURCE_DATABASE_URL`.',
  },
  'server.standby': {
    grades: problem,
    meaning:
      'The server is a standby: nobody can see which writers are open there, and nothing can be stored.',
    remedy: 'Point the URL at the primary.',
  },
  'server.pooler': {
    grades: warning,
    meaning:
      'A pooler stands in front of the server: hints by `LISTEN` and prepared statements are off, and in transaction mode nothing of a session may be relied on.',
    remedy: 'Point the URL at the server itself.',
  },
  'server.fsync': {
    grades: warning,
    meaning: '`fsync` is off: after a crash of the machine the whole cluster may be unusable.',
    remedy: '`ALTER SYSTEM SET fsync = on` and a reload.',
  },
  'server.synchronous_commit': {
    grades: warning,
    meaning:
      '`synchronous_commit` is off: a crash takes back rows that were committed and sent, and their ids come again.',
    remedy: '`ALTER DATABASE … SET synchronous_commit = on`, for those who write audit rows at least.',
  },
  'server.version': {
    grades: problem,
    meaning: 'The server is older than PostgreSQL 14.',
    remedy: 'Upgrade the server.',
  },
  'server.encoding': {
    grades: ['warning', 'problem'],
    meaning:
      'The database has the encoding SQL_ASCII, which does not say what the bytes of a text mean. A problem where the audit tables are: the daemon does not read them.',
    remedy: 'Dump it with `pg_dump --encoding`, and restore it into a database with `ENCODING UTF8`.',
  },
  'clock.skew': {
    grades: warning,
    meaning:
      "The clocks of this machine, the state database and the audit tables' database differ by more than 2 s.",
    remedy: 'Let all machines keep time by NTP.',
  },
  'daemon.absent': {
    grades: warning,
    meaning: 'No replica of the daemon is alive: nothing is delivered.',
    remedy: 'Start `spillway run`.',
  },
  'privileges.state': {
    grades: problem,
    meaning: "The role may not read or write one of Spillway's own tables.",
    remedy: 'Let the role that migrated the schema run the daemon, or grant what the message names.',
  },
  'privileges.triggers': {
    grades: warning,
    meaning:
      "The owner of Spillway's triggers may not read an audit table, so that cursors start a little later and with up to a minute of earlier events.",
    remedy: '`GRANT SELECT` on the table to that owner.',
  },
  'privileges.source': {
    grades: problem,
    meaning: 'The role may not read an audit table, or a column of it.',
    remedy: '`GRANT USAGE` on the schema and `GRANT SELECT` on the table.',
  },
  'privileges.row_security': {
    grades: problem,
    meaning: 'A row-level policy would hide rows from the role; the table is not read at all.',
    remedy: '`ALTER ROLE … BYPASSRLS`, or a role that the policies do not concern.',
  },
  'source.missing': {
    grades: problem,
    meaning: 'There is no such relation, or the role may not see its schema.',
    remedy: 'Correct `sources.relation`, or grant `USAGE` on the schema.',
  },
  'source.not_a_table': {
    grades: problem,
    meaning: 'The relation is a view or a foreign table, whose writers cannot be seen.',
    remedy: 'Register the table behind it.',
  },
  'source.columns': {
    grades: problem,
    meaning: 'A registered column is not there, or the timestamp is none.',
    remedy: 'Correct the row in `spillway.sources`.',
  },
  'source.replicated': {
    grades: problem,
    meaning: 'The table is filled by logical replication, which draws no ids here.',
    remedy: "Read the publisher's table, or use the ordering `xact`.",
  },
  'source.refused': {
    grades: problem,
    meaning: 'The source cannot be read without loss for another reason; the message has it.',
    remedy: 'What the finding says.',
  },
  'source.rewound': {
    grades: problem,
    meaning: 'The source went back in time: was restored, truncated with `RESTART IDENTITY`, or made anew.',
    remedy: '`spillway sources rebase <log type>`.',
  },
  'source.other_cluster': {
    grades: ['warning', 'problem'],
    meaning:
      'The table is in another cluster than when it was last read. For the ordering `xact` that is a problem: transactions have other numbers there.',
    remedy: '`spillway sources rebase <log type>`.',
  },
  'source.disabled': {
    grades: warning,
    meaning: 'The source is disabled, and destinations wait for its rows.',
    remedy: '`UPDATE spillway.sources SET enabled = true WHERE log_type = …`.',
  },
  'source.unforwarded': {
    grades: warning,
    meaning: "No destination has the log type. Spillway's own tables count only when they have rows.",
    remedy: '`spillway destinations add`, or disable the source.',
  },
  'index.order': {
    grades: ['warning', 'problem'],
    meaning:
      'No index has the order in which the table is read, so that every look reads all of it. A problem from a million rows on.',
    remedy: '`CREATE UNIQUE INDEX CONCURRENTLY … (id)`; for `xact`: `(xact, id)`.',
  },
  'index.org': {
    grades: ['warning', 'problem'],
    meaning:
      "No index serves the rows of one org in order, so that each org's destination reads everybody's rows. A problem from a million rows on.",
    remedy: '`CREATE INDEX CONCURRENTLY … (org_id, id)`; for `xact`: `(org_id, xact, id)`.',
  },
  'sequence.cache': {
    grades: problem,
    meaning: "The id's sequence has `CACHE` above 1: sessions draw ids in blocks and use them later.",
    remedy: '`ALTER SEQUENCE … CACHE 1`, then reconnect the writers.',
  },
  'sequence.direction': {
    grades: problem,
    meaning: "The id's sequence does not rise from a positive start.",
    remedy: 'A sequence that does, or the ordering `xact`.',
  },
  'sequence.cycle': {
    grades: problem,
    meaning: "The id's sequence starts again at its end.",
    remedy: '`ALTER SEQUENCE … NO CYCLE`.',
  },
  'sequence.several': {
    grades: problem,
    meaning: 'Partitions draw their ids from sequences of their own.',
    remedy: 'One sequence for all of them.',
  },
  'sequence.untracked': {
    grades: problem,
    meaning: 'The default names its sequence in a way that PostgreSQL does not track.',
    remedy: "`nextval('the_sequence'::regclass)`.",
  },
  'sequence.unreadable': {
    grades: warning,
    meaning:
      "The role may not ask how far the id's sequence is, so that ids beyond it, and a sequence that was set back, are noticed late or not at all.",
    remedy: '`GRANT SELECT ON SEQUENCE … TO …`.',
  },
  'ids.beyond_sequence': {
    grades: problem,
    meaning:
      'There are ids above what the sequence has drawn: somebody inserts ids without it. Rows that it draws below them are passed over.',
    remedy: "Let all ids come from the sequence, and raise it above the table's highest id with `setval`.",
  },
  'ids.without_sequence': {
    grades: warning,
    meaning:
      'The application makes the ids. That loses nothing only if each id is made after its transaction has written to the table, and above all that are there.',
    remedy: 'An identity column, or the ordering `xact`.',
  },
  'ids.out_of_step': {
    grades: warning,
    meaning:
      'Among the last rows timestamps fall by more than a minute while ids rise: ids may be drawn long before they are inserted, or reserved in blocks. Blocks that are used in later transactions lose rows.',
    remedy: "Draw each id in the transaction that inserts it (an ORM's allocation size of 1).",
  },
  'ids.duplicate': {
    grades: problem,
    meaning: 'Several rows have one id: of those that are not in one page only the first are sent.',
    remedy: 'Give them ids of their own, then a unique index.',
  },
  'ids.not_unique': {
    grades: warning,
    meaning: 'No unique index keeps an id from being used twice.',
    remedy: '`CREATE UNIQUE INDEX CONCURRENTLY … (id)`.',
  },
  'ids.type': {
    grades: problem,
    meaning: 'The id is neither an integer nor otherwise in a rising order.',
    remedy: 'The ordering `xact`.',
  },
  'ids.null': {
    grades: problem,
    meaning: 'There are rows without an id.',
    remedy: 'Give them ids, then `SET NOT NULL`.',
  },
  'xact.column': {
    grades: problem,
    meaning: 'The ordering is `xact`, and its column is missing, nullable or no `xid8`.',
    remedy: '`ALTER TABLE … ADD COLUMN xact xid8 NOT NULL DEFAULT pg_current_xact_id()`.',
  },
  'xact.default': {
    grades: ['warning', 'problem'],
    meaning:
      'The `xact` column has not the default `pg_current_xact_id()`. A warning where a `BEFORE INSERT` trigger may set it.',
    remedy: '`ALTER TABLE … ALTER COLUMN … SET DEFAULT pg_current_xact_id()`.',
  },
  'timestamps.future': {
    grades: warning,
    meaning: "Among the last rows some are stamped more than 5 minutes ahead of the database's clock.",
    remedy: "Mend the writer's clock, unit or time zone.",
  },
  'timestamps.past': {
    grades: warning,
    meaning: 'Among the last rows some have no timestamp or one before 1990, mostly a wrong unit.',
    remedy: 'Mend the writer; a timestamp that is NOT NULL.',
  },
  'timestamps.too_old': {
    grades: problem,
    meaning: 'Events that wait are older than their provider takes; they will be skipped, on the record.',
    remedy: 'Find out why the destination is behind.',
  },
  'timestamps.nearly_too_old': {
    grades: warning,
    meaning: 'Events that wait have used up three quarters of the age that their provider takes.',
    remedy: 'Find out why the destination is behind.',
  },
  'transactions.prepared': {
    grades: ['warning', 'problem'],
    meaning:
      'A prepared transaction has been open for 5 minutes. A problem where it holds back a source: rows above it wait.',
    remedy: '`COMMIT PREPARED` or `ROLLBACK PREPARED`, by the name in the message.',
  },
  'transactions.idle': {
    grades: problem,
    meaning: 'A session has been idle in a transaction for 10 s and holds back a source: rows above it wait.',
    remedy: 'End it: `SELECT pg_terminate_backend(…)`; later `idle_in_transaction_session_timeout`.',
  },
  'transactions.lock': {
    grades: problem,
    meaning:
      'A transaction that is older than 10 s keeps the table locked: nobody can read it, and nothing else about the source can be told.',
    remedy: 'End it: `SELECT pg_terminate_backend(…)`.',
  },
  'transactions.long': {
    grades: warning,
    meaning: 'A transaction has been at work for 5 minutes and holds back a source: rows above it wait.',
    remedy: 'Write audit rows in short transactions.',
  },
  'transactions.hidden': {
    grades: warning,
    meaning: 'A session holds back a source, and the role may not see since when or whose it is.',
    remedy: '`GRANT pg_read_all_stats TO …`.',
  },
  'destination.invalid': {
    grades: problem,
    meaning: 'The row cannot be used; every bad field is named. Nothing is delivered to it.',
    remedy: 'Mend the row.',
  },
  'destination.no_source': {
    grades: problem,
    meaning: 'The destination has a log type that no source is registered for, which makes it invalid.',
    remedy: '`spillway sources add`, or take the log type out of `log_types`.',
  },
  'destination.disabled': {
    grades: warning,
    meaning: 'The destination is disabled, by hand or by a 410.',
    remedy: '`spillway destinations enable`, or delete it.',
  },
  'destination.failing': {
    grades: warning,
    meaning: 'The last attempts failed.',
    remedy: 'See its `last_error`; `spillway destinations test`.',
  },
  'destination.unauthorized': {
    grades: problem,
    meaning: 'The receiver refuses the credentials: nothing is delivered until they are mended.',
    remedy: 'Write new ones into `config`.',
  },
  'backlog.expiring': {
    grades: problem,
    meaning:
      'A destination has failed, or was disabled, for more than three quarters of its `maxBacklogAgeMs`; then its backlog is skipped.',
    remedy: 'Mend the endpoint, or raise `delivery.maxBacklogAgeMs`, or set `onBacklogExpiry` to `hold`.',
  },
  'backlog.held': {
    grades: problem,
    meaning:
      'A destination has failed for longer than its `maxBacklogAgeMs` and holds its backlog: it stands still.',
    remedy: 'Mend the endpoint; keep the rows in the source until then.',
  },
  'check.failed': {
    grades: warning,
    meaning: 'A check could not be made; the others were.',
    remedy: 'What the message says.',
  },
} satisfies Record<string, Hazard>

export type HazardCode = keyof typeof hazards
