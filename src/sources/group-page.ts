/**
 * The few new rows of many tenants in one statement. 10,000 tenants that write 500 rows a second wake as many
 * streams, and a statement for each is mostly overhead, on both sides.
 *
 * Each gets what its own statement would bring it: its tenant's rows and nobody else's, as a condition in the query
 * (I7), after its own position, with the snapshot's first row of the table. Nothing is kept between statements. One
 * whose rows are not few gets none of them, so that a group is bounded (I9), and reads its page itself.
 */
import type { SourceSql } from '../db/client.ts'
import type { RowValues } from '../events/row.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import type { Oldest, PageLimit, ReadRow } from './page.ts'
import type { PageColumns } from './page-columns.ts'
import { distanceBetween, type Position } from './position.ts'
import { binding, type Range, type Scope, type Selection } from './selection.ts'
import type { Source } from './source.ts'

/** The rows of a tenant in a range. */
export interface Question {
  readonly orgId: string
  readonly range: Range
  readonly limit: PageLimit
}

/** Takes what is found for a question: all rows by rising position, then the end. */
export interface Asker {
  readonly question: Question
  take(row: ReadRow): void
  end(oldest: Oldest): void
}

export interface GroupPageDeps {
  readonly sql: SourceSql
  readonly source: Source
  readonly selection: Selection
  readonly columns: PageColumns
  readonly tracing: Tracing
}

/** Of each of a group. Whoever has more of them has a backlog rather than news. */
const mostRows = 100
const mostBytes = 128 * 1024
/** Who was not at work for so many ids has a backlog, and where no index leads by tenant it takes long to look for it. */
const mostDistance = 200_000
/** Who asks for a larger page has had full ones. */
const largestPageBytes = 1024 * 1024

/** What was found for one of a group so far. */
interface Found {
  readonly asker: Asker
  last: Position | undefined
  oldest: Oldest
  fits: boolean
}

export class GroupPage {
  readonly #deps: GroupPageDeps
  readonly #outer: string

  constructor(deps: GroupPageDeps) {
    this.#deps = deps
    this.#outer = deps.columns.outer('p.fits', 'p.number > 1')
  }

  /** What to ask for a page; undefined where it has to be read alone. */
  questionOf({ orgId, start, stamped }: Scope, range: Range, limit: PageLimit): Question | undefined {
    const { source, selection } = this.#deps
    if (orgId === null || !selection.tenant?.accepts(orgId) || start || stamped) return undefined
    // Without an index in the source's order each would scan the table.
    if (!source.ordered || !selection.order.isPlain(range.after)) return undefined
    if (limit.rows <= 1 || limit.bytes <= mostBytes || limit.bytes > largestPageBytes) return undefined
    if (distanceBetween(range.after, range.upTo) > mostDistance) return undefined
    return { orgId, range, limit }
  }

  /** Those for whom there is more than a few rows, or one that is large, are not told of an end. */
  async read(askers: readonly Asker[], upTo: Position): Promise<void> {
    const { source, tracing } = this.#deps
    const attributes = { 'spillway.log_type': source.definition.logType }
    await tracing.span('spillway.read_pages', 'client', attributes, async (span) => {
      const rows = await this.#read(askers, upTo)
      span.set({ 'spillway.pages': askers.length, 'spillway.page.rows': rows })
    })
  }

  async #read(askers: readonly Asker[], upTo: Position): Promise<number> {
    const { sql, source, selection, columns } = this.#deps
    const { order, tenant } = selection
    if (!tenant) throw new Error('a source without tenants has no groups')
    const cursors = askers.map(({ question: { orgId, range, limit } }, index) => ({
      index,
      org: orgId,
      // A page of its own that has as many as it may is a full one.
      most: Math.min(limit.rows - 1, mostRows),
      ...order.cursorOf(range.after),
    }))
    const { bind, parameters } = binding(JSON.stringify(cursors), String(mostBytes))
    const found = askers.map((asker): Found => ({ asker, last: undefined, oldest: undefined, fits: true }))
    let rows = 0
    let changed = false
    await sql.each(
      `SELECT ${this.#outer}, p.fits, c.index
       FROM jsonb_to_recordset($1::text::jsonb) AS c(index int, org ${tenant.type}, most int, ${order.cursorColumns})
       LEFT JOIN LATERAL (
         SELECT s.*, ${columns.size} AS size, row_number() OVER (ORDER BY ${columns.sorted}) AS number,
                count(*) OVER () <= c.most AND sum(${columns.size}) OVER () <= $2::bigint AS fits
         FROM (
           SELECT ${columns.inner} FROM ${source.relation} t
           WHERE ${tenant.expression} = c.org AND ${order.afterPlain} AND ${order.upTo(upTo, bind)}
           ORDER BY ${order.keys.join(', ')} FETCH FIRST (c.most + 1) ROWS ONLY
         ) s
       ) p ON p.fits OR p.number = 1
       ORDER BY c.index, ${columns.sorted}`,
      parameters,
      { prepare: true },
      (values) => {
        changed ||= !columns.areKnown(values)
        const one = found[Number(values[columns.width + 1])]
        if (!changed && one && this.#take(one, values)) rows += 1
      },
    )
    if (changed) throw columns.changed
    for (const { asker, oldest, fits } of found) if (fits) asker.end(oldest)
    return rows
  }

  /** False when there is no row, or more than are few. */
  #take(one: Found, values: RowValues): boolean {
    const { columns } = this.#deps
    if (one.last === undefined) one.oldest = columns.oldestOf(values)
    const fits = values[columns.width]
    if (fits === null) return false
    one.fits = fits === 't'
    if (!one.fits) return false
    const row = columns.read(values, one.last)
    one.last = row.position
    one.asker.take(row)
    return true
  }
}
