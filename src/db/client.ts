/**
 * Connections. The state pool holds Spillway's own tables; the source pool reads audit tables and returns
 * every value as PostgreSQL's text, because a row must travel with the precision it has in the table.
 */
import postgres from 'postgres'

export type Sql = postgres.Sql
/** A pool whose values all arrive as text. */
export type TextSql = postgres.Sql<{ text: string }>

/** Types that postgres.js would turn into numbers, dates, buffers or objects: bool … numeric, json, jsonb. */
const parsedByDefault = [16, 17, 20, 21, 23, 26, 114, 700, 701, 1082, 1114, 1184, 1700, 3802]

export interface PoolOptions {
  readonly applicationName: string
  /** Upper bound on connections (I9). */
  readonly max: number
}

const shared = ({ applicationName, max }: PoolOptions) => ({
  max,
  connect_timeout: 10,
  // An idle pool gives its connections back after a minute: thousands of sidecars share a server.
  idle_timeout: 60,
  fetch_types: false,
  onnotice: () => {},
  connection: { application_name: applicationName, TimeZone: 'UTC' },
})

export function connectState(url: string, options: PoolOptions): Sql {
  return postgres(url, shared(options))
}

/** Timestamps come as ISO text in UTC, bytea as hex, floats with all their digits, whatever the server's defaults are. */
export function connectSource(url: string, options: PoolOptions): TextSql {
  const base = shared(options)
  return postgres(url, {
    ...base,
    connection: {
      ...base.connection,
      DateStyle: 'ISO',
      // Rows that a policy hides would be lost in silence: an error instead.
      row_security: 'off',
      IntervalStyle: 'iso_8601',
      bytea_output: 'hex',
      extra_float_digits: '1',
    },
    types: {
      text: {
        to: 25,
        from: parsedByDefault,
        serialize: (value: string) => value,
        parse: (value: string) => value,
      },
    },
  })
}
