/**
 * Connections. The state pool holds Spillway's own tables; the source pool reads audit tables and returns
 * every value as PostgreSQL's text, because a row must travel with the precision it has in the table.
 */
import postgres from 'postgres'
import type { StatementWatch } from './statement-watch.ts'

export type Sql = postgres.Sql
export type TextSql = postgres.Sql<{ text: string }>

/** A row's values in the order of the statement's columns. */
export type TextValues = readonly (string | null)[]

export interface StatementOptions {
  /** Parsed once per connection, where the connection allows it: for statements that are repeated. */
  readonly prepare?: boolean
  /**
   * Prepared, and planned once per connection too. Only for statements that read nothing but the catalogue and have no
   * parameters: of tables with partitions a plan must not be kept, see `sourceSettings`.
   */
  readonly keepPlan?: boolean
}

/** Statements on the audit tables. Every value arrives as PostgreSQL's text, every parameter leaves as text. */
export interface SourceSql {
  query<Row extends object>(
    statement: string,
    parameters?: TextValues,
    options?: StatementOptions,
  ): Promise<Row[]>
  /** Hands over row after row as they arrive, so that no page is held twice. */
  each(
    statement: string,
    parameters: TextValues,
    options: StatementOptions,
    onRow: (values: TextValues) => void,
  ): Promise<void>
  end(options?: { timeout: number }): Promise<void>
}

/** What makes values come in the one form that is turned into JSON, whatever the server's defaults are. */
export const sourceSettings = {
  TimeZone: 'UTC',
  DateStyle: 'ISO',
  // Rows that a policy hides would be lost in silence: an error instead.
  row_security: 'off',
  IntervalStyle: 'iso_8601',
  bytea_output: 'hex',
  extra_float_digits: '1',
  // A plan that is kept for all parameters finds no rows at all on a table whose partitions are partitioned once more,
  // when one is detached meanwhile (seen on PostgreSQL 18.4): rows would be passed over in silence.
  plan_cache_mode: 'force_custom_plan',
  // The same happens within one statement that looks up a tenant's rows for each of many cursors: partitions are chosen
  // while it runs, and one that was attached since it was planned shifts the others out of sight (18.4).
  enable_partition_pruning: 'off',
} as const

/** Of those a server tells each client, by its own accord, how it has set them. */
const told: Readonly<Record<string, string>> = {
  IntervalStyle: sourceSettings.IntervalStyle,
  // From version 14 on. Poolers do not pass it on, and seldom is it the server's default.
  default_transaction_read_only: 'on',
}

/** Types that postgres.js would turn into numbers, dates, buffers or objects: bool … numeric, json, jsonb. */
const parsedByDefault = [16, 17, 20, 21, 23, 26, 114, 700, 701, 1082, 1114, 1184, 1700, 3802]

export const textTypes = {
  text: {
    to: 25,
    from: parsedByDefault,
    serialize: (value: string) => value,
    parse: (value: string) => value,
  },
}

export interface PoolOptions {
  readonly applicationName: string
  /** Upper bound on connections (I9). */
  readonly max: number
  /** Is told of each statement, to find those that will never be answered. */
  readonly watch?: StatementWatch
}

export interface StatePoolOptions extends PoolOptions {
  /** A pooler stands in front: statements cannot be prepared. */
  readonly pooled?: boolean
  /**
   * For what destinations share. Behind a statement that waits for a lock of somebody else's, others' would wait
   * too (I6). Such a pool has no `begin`: the driver's counts on a second place (postgres.js 3.4.9).
   */
  readonly oneStatementAtATime?: boolean
}

/** For the driver, which otherwise sends a statement before the one ahead of it is answered. */
const oneStatementAtATime = { max_pipeline: 0 }

/**
 * After this long without a word the kernel asks once a second whether the other side is there, ten times (Node's
 * own figures). So a machine that is gone is noticed within 20 s. It does not help where a statement is still to be
 * acknowledged, nor where something in between answers for a server that it has lost: see `StatementWatch`.
 */
export const keepAliveSeconds = 10

/**
 * Seconds before a connection is made anew. The driver's own pause grows with the failures of all connections of a pool
 * together: one second of refusals, and the next attempt was 10 to 20 s later. Whoever waits for the database paces
 * himself (availability.ts).
 */
export const reconnectPause = (failures: number): number => Math.min(0.1 * failures, 0.5)

const shared = ({ applicationName, max }: PoolOptions) => ({
  max,
  connect_timeout: 10,
  backoff: reconnectPause,
  keep_alive: keepAliveSeconds,
  // An idle pool gives its connections back after a minute: thousands of sidecars share a server.
  idle_timeout: 60,
  fetch_types: false,
  onnotice: () => {},
  connection: { application_name: applicationName, TimeZone: 'UTC' },
})

export function connectState(url: string, options: StatePoolOptions): Sql {
  const own = options.oneStatementAtATime ? oneStatementAtATime : {}
  return postgres(url, { ...shared(options), ...own, prepare: options.pooled !== true })
}

/**
 * Directly, without a pooler in between: each session is set up at its start. `onStray` hears, before the first
 * statement on it, of a session that did not come as it was asked for.
 */
export function connectSource(url: string, options: PoolOptions, onStray: () => void = () => {}): SourceSql {
  const base = { ...shared(options), ...oneStatementAtATime }
  const sql: TextSql = postgres(url, {
    ...base,
    connection: { ...base.connection, ...sourceSettings, default_transaction_read_only: true },
    onparameter: (name, value) => {
      const expected = told[name]
      if (expected !== undefined && value !== expected) onStray()
    },
    types: textTypes,
  })
  return {
    query: <Row extends object>(
      statement: string,
      parameters: TextValues = [],
      { prepare = false, keepPlan = false }: StatementOptions = {},
    ) => {
      const how = keepPlan ? { prepare: true, simple: false } : { prepare }
      const query = sql.unsafe<Row[]>(statement, [...parameters], how)
      options.watch?.follow(query)
      return query
    },
    async each(statement, parameters, { prepare = false }, onRow) {
      let hear = () => {}
      const query = sql
        .unsafe<Record<string, string | null>[]>(statement, [...parameters], { prepare })
        .values()
        .forEach((values: TextValues) => {
          hear()
          onRow(values)
        })
      hear = options.watch?.follow(query, 'page') ?? hear
      await query
    },
    end: (closing) => sql.end(closing),
  }
}
