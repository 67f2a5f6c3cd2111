/** What the tests of stalls share: sessions that hold a horizon back, and waiting for what the log says of it. */
import postgres from 'postgres'
import { expect } from 'vitest'
import type { SourceSql } from '../../../src/db/client.ts'
import type { SourceDefinition } from '../../../src/sources/source.ts'
import { type TestDatabase, whenDone } from '../../support/postgres.ts'
import { type Watching, watch } from './watching.ts'

/** As quick as an ordinary transaction. */
export const stall = { afterMs: 150, againMs: 60_000 }

/** One connection, in which a transaction may stay open. */
export function session({ url }: Pick<TestDatabase, 'url'>, name: string): postgres.Sql {
  const connection = { application_name: name }
  const own = postgres(url, { max: 1, onnotice: () => {}, connection })
  whenDone(() => own.end())
  return own
}

export async function pidOf(client: postgres.Sql): Promise<number> {
  const [row] = await client<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`
  return row?.pid ?? 0
}

export const watchStalls = (on: SourceSql, definition: SourceDefinition) =>
  watch(on, definition, undefined, {}, { stall })

/** The next line about a stall that says what is expected. */
export async function said(watching: Watching, fields: Readonly<Record<string, unknown>>) {
  await expect
    .poll(() => watching.lines.all, { timeout: 20_000 })
    .toContainEqual({ code: 'horizon.stalled', fields: expect.objectContaining(fields) })
  const line = watching.lines.all.find(({ code }) => code === 'horizon.stalled')
  return line?.fields ?? {}
}

export async function moved(watching: Watching): Promise<void> {
  await expect.poll(() => watching.lines.all.map(({ code }) => code)).toContain('horizon.moved')
}

export const insertInto = (client: postgres.Sql, { relation }: SourceDefinition) =>
  client.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`)
