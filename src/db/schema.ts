/**
 * The tables of schema `spillway` that the daemon and its commands read and write, for drizzle. The SQL
 * under `migrations/` is what makes them; a test holds the two together.
 */
import { sql } from 'drizzle-orm'
import {
  bigint,
  boolean,
  doublePrecision,
  integer,
  jsonb,
  pgSchema,
  primaryKey,
  text,
  timestamp,
} from 'drizzle-orm/pg-core'
import { schemaName } from './schema-name.ts'

const spillway = pgSchema(schemaName)

const instant = (name: string) => timestamp(name, { withTimezone: true, mode: 'date' })

export const settings = spillway.table('settings', {
  id: boolean('id').primaryKey().default(true),
  separateSource: boolean('separate_source').notNull().default(false),
})

export const sources = spillway.table('sources', {
  logType: text('log_type').primaryKey(),
  relation: text('relation').notNull(),
  idColumn: text('id_column').notNull().default('id'),
  orgColumn: text('org_column'),
  timestampColumn: text('timestamp_column').notNull(),
  ordering: text('ordering', { enum: ['id', 'xact'] })
    .notNull()
    .default('id'),
  xactColumn: text('xact_column'),
  excludeColumns: text('exclude_columns').array().notNull().default([]),
  enabled: boolean('enabled').notNull().default(true),
})

export const sourceState = spillway.table('source_state', {
  logType: text('log_type').primaryKey(),
  horizon: text('horizon').notNull(),
  trace: jsonb('trace'),
  updatedAt: instant('updated_at').notNull().defaultNow(),
})

export const destinations = spillway.table('destinations', {
  id: bigint('id', { mode: 'number' }).primaryKey().generatedByDefaultAsIdentity(),
  orgId: text('org_id'),
  name: text('name').notNull(),
  type: text('type').notNull(),
  config: jsonb('config').notNull().default({}),
  logTypes: text('log_types').array().notNull(),
  enabled: boolean('enabled').notNull().default(true),
  startFrom: text('start_from').notNull().default('now'),
  filter: jsonb('filter'),
  redaction: jsonb('redaction'),
  delivery: jsonb('delivery').notNull().default({}),
  createdAt: instant('created_at').notNull().defaultNow(),
  updatedAt: instant('updated_at').notNull().defaultNow(),
  version: bigint('version', { mode: 'number' }).notNull().default(1),
})

export const deliveryState = spillway.table('delivery_state', {
  destinationId: bigint('destination_id', { mode: 'number' }).primaryKey(),
  status: text('status', { enum: ['active', 'backing_off', 'unauthorized', 'invalid', 'disabled'] })
    .notNull()
    .default('active'),
  consecutiveFailures: integer('consecutive_failures').notNull().default(0),
  firstFailedAt: instant('first_failed_at'),
  nextAttemptAt: instant('next_attempt_at'),
  lastSuccessAt: instant('last_success_at'),
  lastError: text('last_error'),
  lastErrorAt: instant('last_error_at'),
  disabledAt: instant('disabled_at'),
  lagEvents: bigint('lag_events', { mode: 'number' }),
  lagSeconds: doublePrecision('lag_seconds'),
  lagAt: instant('lag_at'),
  eventsDelivered: bigint('events_delivered', { mode: 'number' }).notNull().default(0),
  eventsSkipped: bigint('events_skipped', { mode: 'number' }).notNull().default(0),
  eventsDeadLettered: bigint('events_dead_lettered', { mode: 'number' }).notNull().default(0),
  batchesDelivered: bigint('batches_delivered', { mode: 'number' }).notNull().default(0),
})

export const cursors = spillway.table(
  'cursors',
  {
    destinationId: bigint('destination_id', { mode: 'number' }).notNull(),
    logType: text('log_type').notNull(),
    position: text('position').notNull(),
    frozen: text('frozen').array().notNull().default([]),
  },
  (table) => [primaryKey({ columns: [table.destinationId, table.logType] })],
)

export const skippedRanges = spillway.table('skipped_ranges', {
  id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  destinationId: bigint('destination_id', { mode: 'number' }).notNull(),
  logType: text('log_type').notNull(),
  fromPosition: text('from_position').notNull(),
  toPosition: text('to_position').notNull(),
  eventCount: bigint('event_count', { mode: 'number' }),
  reason: text('reason').notNull(),
  createdAt: instant('created_at').notNull().defaultNow(),
  replayedAt: instant('replayed_at'),
})

export const replays = spillway.table('replays', {
  id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  destinationId: bigint('destination_id', { mode: 'number' }).notNull(),
  kind: text('kind', { enum: ['range', 'since', 'dead_letters', 'skipped'] }).notNull(),
  logType: text('log_type'),
  fromPosition: text('from_position'),
  toPosition: text('to_position'),
  since: instant('since'),
  until: instant('until'),
  skippedId: bigint('skipped_id', { mode: 'number' }),
  requestedBy: text('requested_by').notNull().default(sql`session_user`),
  databaseUser: text('database_user').notNull().default(sql`session_user`),
  applicationName: text('application_name'),
  requestedAt: instant('requested_at').notNull().defaultNow(),
  state: text('state', { enum: ['waiting', 'running', 'done', 'failed', 'cancelled'] })
    .notNull()
    .default('waiting'),
  startedAt: instant('started_at'),
  finishedAt: instant('finished_at'),
  eventsExpected: bigint('events_expected', { mode: 'number' }),
  eventsSent: bigint('events_sent', { mode: 'number' }).notNull().default(0),
  eventsRefused: bigint('events_refused', { mode: 'number' }).notNull().default(0),
  eventsTooOld: bigint('events_too_old', { mode: 'number' }).notNull().default(0),
  eventsMissing: bigint('events_missing', { mode: 'number' }).notNull().default(0),
  nextAttemptAt: instant('next_attempt_at'),
  lastError: text('last_error'),
})

export const deadLetters = spillway.table('dead_letters', {
  id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  destinationId: bigint('destination_id', { mode: 'number' }).notNull(),
  logType: text('log_type').notNull(),
  eventId: text('event_id').notNull(),
  provider: text('provider'),
  status: integer('status'),
  reason: text('reason').notNull(),
  createdAt: instant('created_at').notNull().defaultNow(),
  resolvedAt: instant('resolved_at'),
})
