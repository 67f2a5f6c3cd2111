/**
 * How much waits for destinations, for those who watch: counts that stop at a limit, so that each costs an index
 * probe and at most that many entries. Exact counts are `Reader.count`'s.
 */
import type { SourceSql } from '../db/client.ts'
import { instantOf } from '../events/timestamp.ts'
import { binding, type Range, type Scope, type Selection } from './selection.ts'

export interface BacklogQuestion {
  readonly scope: Scope
  readonly range: Range
  /** The count stops here. */
  readonly limit: number
}

export interface BacklogAnswer {
  readonly count: number
  /** The timestamp of the first event, epoch milliseconds; undefined without one, or where it says none. */
  readonly firstMs: number | undefined
}

/** The answers in the order of the questions. */
export async function countBacklogs(
  sql: SourceSql,
  selection: Selection,
  asked: readonly BacklogQuestion[],
): Promise<BacklogAnswer[]> {
  if (asked.length === 0) return []
  const { relation, stamp, inOrder, timestamp } = selection
  const { bind, parameters } = binding()
  const statements = asked.map(({ scope, range, limit }, index) => {
    const rows = `FROM ${relation} t WHERE ${selection.where(scope, range, bind)}`
    return `SELECT ${index} AS index,
      (SELECT count(*) FROM (SELECT ${rows} LIMIT ${Math.trunc(limit)}) r) AS count,
      (SELECT ${stamp} ${rows}${inOrder} LIMIT 1) AS stamp`
  })
  const found = await sql.query<{ index: string; count: string; stamp: string | null }>(
    statements.join(' UNION ALL '),
    parameters,
  )
  const toInstant = instantOf(timestamp.type)
  const answers = new Map(
    found.map(({ index, count, stamp }) => [
      Number(index),
      { count: Number(count), firstMs: Date.parse((stamp && toInstant(stamp)) || '') || undefined },
    ]),
  )
  return asked.map((_, index) => answers.get(index) ?? { count: 0, firstMs: undefined })
}
