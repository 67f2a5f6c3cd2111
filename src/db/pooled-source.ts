/**
 * Statements on the audit tables through a pooler, which may run each transaction in another session: so each
 * statement travels in one message with the settings it needs. PostgreSQL runs the statements of a message as
 * one transaction, and `SET LOCAL` ends with it. Such a message has no parameters; they are written into the
 * statement as literals.
 */
import postgres from 'postgres'
import { quoteText } from '../events/columns.ts'
import {
  keepAliveSeconds,
  type PoolOptions,
  reconnectPause,
  type SourceSql,
  sourceSettings,
  type TextSql,
  type TextValues,
  textTypes,
} from './client.ts'

const preamble = [
  'SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY',
  ...Object.entries(sourceSettings).map(([name, value]) => `SET LOCAL ${name} = '${value}'`),
].join('; ')

export function connectPooledSource(url: string, { applicationName, max, watch }: PoolOptions): SourceSql {
  const sql: TextSql = postgres(url, {
    max,
    connect_timeout: 10,
    backoff: reconnectPause,
    keep_alive: keepAliveSeconds,
    idle_timeout: 60,
    fetch_types: false,
    prepare: false,
    onnotice: () => {},
    connection: { application_name: applicationName },
    types: textTypes,
  })
  const message = (statement: string, parameters: TextValues) =>
    sql
      .unsafe<Record<string, string | null>[]>(`${preamble}; ${withLiterals(statement, parameters)}`)
      .simple()
  return {
    async query<Row extends object>(statement: string, parameters: TextValues = []) {
      // One result for the settings together and one for the statement; the driver's types know only one.
      const query = message(statement, parameters)
      watch?.follow(query)
      const results = (await query) as unknown as Row[][]
      return results.at(-1) ?? []
    },
    async each(statement, parameters, _options, onRow) {
      // Settings have no rows.
      let hear = () => {}
      const query = message(statement, parameters)
        .values()
        .forEach((values: TextValues) => {
          hear()
          onRow(values)
        })
      hear = watch?.follow(query, 'page') ?? hear
      await query
    },
    end: (closing) => sql.end(closing),
  }
}

/** Replaces $1, $2, … outside of quoted names and strings. */
export function withLiterals(statement: string, parameters: TextValues): string {
  return statement.replace(
    /"(?:[^"]|"")*"|'(?:[^']|'')*'|\$(\d+)/g,
    (found: string, number: string | undefined) => {
      if (number === undefined) return found
      const value = parameters[Number(number) - 1]
      if (value === undefined) throw new Error(`the statement has no parameter ${found}`)
      return value === null ? 'NULL' : quoteText(value)
    },
  )
}
