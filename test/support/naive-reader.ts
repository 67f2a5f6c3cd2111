/**
 * The reader that everybody writes first: `WHERE id > cursor ORDER BY id`. Run beside Spillway under the
 * same writers, it shows what their commits out of order cost it, and that the test would notice.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type postgres from 'postgres'

/** Polls until `signal` aborts and once more after that; resolves with the ids it has seen. */
export async function readNaively(
  sql: postgres.Sql,
  relation: string,
  intervalMs: number,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const seen = new Set<string>()
  let cursor = '0'
  for (let last = false; !last; ) {
    last = signal.aborted
    const rows = await sql<{ id: string }[]>`
      SELECT id FROM ${sql(relation)} WHERE id > ${cursor} ORDER BY id`
    for (const { id } of rows) seen.add(id)
    cursor = rows.at(-1)?.id ?? cursor
    await delay(intervalMs)
  }
  return seen
}
