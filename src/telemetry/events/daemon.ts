/** The process, its database and its place among replicas. */
import { durationMs, error, flag, integer, oneOf, optional, text, texts } from './field.ts'

/** Of the shards that destinations are shared out by. */
const leases = {
  shards: text('Their numbers, such as `0-20, 63`'),
  count: integer('How many they are'),
  held: integer('How many this replica holds now'),
}

export const daemonEvents = {
  'daemon.starting': {
    level: 'info',
    message: 'Starting.',
    meaning: 'The process is up and its settings are valid; the database comes next.',
    action: 'Nothing.',
    fields: {
      node: text('Version of Node.js'),
      embedded: flag('There is no `DATABASE_URL`: the embedded PostgreSQL is used'),
    },
  },
  'daemon.started': {
    level: 'info',
    message: 'Started; sources: {sources}, destinations: {destinations}.',
    meaning: 'The daemon forwards events.',
    action: 'Nothing.',
    fields: {
      sources: integer('Sources that are read'),
      destinations: integer('Destinations that are delivered to'),
      http: optional(text('Where `/livez` and `/readyz` listen')),
      duration_ms: durationMs('Time since `daemon.starting`'),
    },
  },
  'daemon.stopping': {
    level: 'info',
    message: 'Stopping: {reason}.',
    meaning:
      'Batches under way are settled. No new ones are begun, but for destinations that share a shard with one that is ' +
      'slow to answer.',
    action: 'Nothing. A second signal ends the process at once, which repeats at most the open batches.',
    fields: { reason: text('The signal, or what else asked for it') },
  },
  'daemon.stopped': {
    level: 'info',
    message: 'Stopped.',
    meaning: 'Everything is settled and closed.',
    action: 'Nothing.',
    fields: { duration_ms: durationMs('Time since `daemon.stopping`') },
  },
  'daemon.failed': {
    level: 'fatal',
    message: 'The daemon cannot go on.',
    meaning: 'An error that no part could handle ended the process. No event is lost by it.',
    action:
      'Follow `error.hint`; without one, report the line as a bug. The next start resumes at the cursors.',
    fields: { error: error('What happened, with its causes') },
  },
  'database.migrated': {
    level: 'info',
    message: 'The schema is at {schema_version}, on PostgreSQL {postgres_version}.',
    meaning: 'The tables in the schema `spillway` are up to date.',
    action: 'Nothing.',
    fields: {
      schema_version: text('The newest migration in the database'),
      applied: texts('Migrations that this start applied; mostly none'),
      postgres_version: text("Version of the server with Spillway's own tables, as it says it"),
    },
  },
  'database.embedded_started': {
    level: 'info',
    message: 'The embedded PostgreSQL runs on port {port}.',
    meaning: 'A PostgreSQL for development was started, or one that runs here already is used.',
    action: 'Set `DATABASE_URL` for anything but development.',
    fields: {
      home: text('Directory of its data and its log'),
      port: integer('Port on 127.0.0.1'),
      reused: flag('It was running already'),
      duration_ms: durationMs('Time the start took'),
    },
  },
  'database.unavailable': {
    level: 'warn',
    message: 'The {database} database cannot be used: {code}.',
    meaning:
      'Queries fail. Deliveries pause and are tried again by themselves. Logged once, until it recovers.',
    action: 'See whether PostgreSQL is up and reachable, and whether it has connections left.',
    metrics: [{ name: 'spillway_database_outages_total', labels: { database: { field: 'database' } } }],
    fields: {
      database: oneOf(['state', 'source'], "Spillway's own tables, or the audit tables"),
      code: text("SQLSTATE, or the system's error code"),
      message: text('What the server or the system said'),
    },
  },
  'database.pooler_found': {
    level: 'info',
    message: 'A pooler stands in front of the {database} database.',
    meaning:
      'Connections go through PgBouncer or its like. Statements are no longer prepared, and whatever they need ' +
      'is set in their own transaction.',
    action: 'Nothing; see Poolers in OPERATIONS. A direct connection is quicker.',
    fields: {
      database: oneOf(['state', 'source'], "Spillway's own tables, or the audit tables"),
    },
  },
  'database.recovered': {
    level: 'info',
    message: 'The {database} database can be used again.',
    meaning: 'The first success after `database.unavailable`.',
    action: 'Nothing.',
    fields: {
      database: oneOf(['state', 'source'], "Spillway's own tables, or the audit tables"),
      down_ms: durationMs('Time since `database.unavailable`'),
    },
  },
  'lease.acquired': {
    level: 'info',
    message: 'Holding {held} shards; new: {shards}.',
    meaning: 'This replica now delivers for the destinations in these shards.',
    action: 'Nothing.',
    metrics: [{ name: 'spillway_lease_moves_total', labels: { move: { value: 'acquired' } } }],
    fields: {
      ...leases,
      replicas: integer('Replicas that were alive when it looked, this one among them'),
    },
  },
  'lease.released': {
    level: 'info',
    message: 'Gave up shards {shards}: {reason}.',
    meaning:
      'Everything under way for these destinations is settled, and another replica may deliver for them.',
    action: 'Nothing.',
    metrics: [{ name: 'spillway_lease_moves_total', labels: { move: { value: 'released' } } }],
    fields: { ...leases, reason: oneOf(['rebalancing', 'leaving'], 'Why') },
  },
  'lease.lost': {
    level: 'warn',
    message: 'Lost shards {shards}: {reason}.',
    meaning:
      'Another replica may deliver for these destinations. This one sends and writes nothing for them any more. What ' +
      'was on its way may be repeated under its batch id.',
    action:
      'Nothing if it is rare. Often: the database is slow or cut off, or the process starves or is paused.',
    metrics: [{ name: 'spillway_lease_moves_total', labels: { move: { value: 'lost' } } }],
    fields: {
      ...leases,
      reason: oneOf(
        ['expired', 'taken_over'],
        'They were not renewed in time, or the database has another holder',
      ),
    },
  },
  'tracing.error': {
    level: 'warn',
    message: 'Spans do not reach the collector: {code}.',
    meaning:
      'The OpenTelemetry collector is away, hangs or refuses. Spans are lost; deliveries and their records are not touched.',
    action:
      'See whether the collector of `OTEL_EXPORTER_OTLP_ENDPOINT` is up, reachable and lets this daemon in.',
    fields: {
      code: text("`http_status`, `timeout`, or the system's error code"),
      status: optional(integer('The HTTP status, where there was one')),
      lost: integer(
        'Spans that did not get away since the first failure; what did not fit the queue comes on top',
      ),
      suppressed: integer('Failures since the last such line'),
    },
  },
  'tracing.recovered': {
    level: 'info',
    message: 'Spans reach the collector again.',
    meaning: 'The first success after `tracing.error`.',
    action: 'Nothing.',
    fields: { lost: integer('Spans that did not get away') },
  },
} as const
