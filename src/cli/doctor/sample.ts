/** The last rows of a source, as the daemon reads their ids and timestamps. */
import { quoteIdentifier } from '../../events/columns.ts'
import { instantOf } from '../../events/timestamp.ts'
import type { Source } from '../../sources/source.ts'
import type { Patient } from './patient.ts'

export interface Sample {
  /** In the source's order. */
  readonly rows: readonly SampledRow[]
  /** The database's time, in epoch milliseconds. */
  readonly now: number
}

export interface SampledRow {
  readonly id: string
  /** Epoch milliseconds; undefined where the row's timestamp says none. */
  readonly at: number | undefined
}

/** Undefined where finding the last rows would read and sort the whole table. */
export async function sampled(
  { sourceSql }: Patient,
  source: Source,
  count: number,
): Promise<Sample | undefined> {
  if (!source.ordered) return undefined
  const { idColumn, xactColumn, timestampColumn } = source.definition
  const at = quoteIdentifier(timestampColumn)
  const found = await sourceSql.query<{ id: string; at: string | null; now: string }>(
    `SELECT s.id, s.at, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now FROM (
       SELECT t.${quoteIdentifier(idColumn)}::text AS id, t.${at}::text AS at
       FROM ${source.relation} t ORDER BY t.${quoteIdentifier(xactColumn ?? idColumn)} DESC LIMIT ${count}
     ) s`,
  )
  const type = source.allColumns.find(({ name }) => name === timestampColumn)?.type ?? ''
  const read = instantOf(type)
  const rows = found.map((row) => {
    const instant = row.at === null ? undefined : read(row.at)
    return { id: row.id, at: instant === undefined ? undefined : Date.parse(instant) }
  })
  return { rows: rows.reverse(), now: Number(found[0]?.now ?? 0) }
}
