/**
 * Reads a source's rows in pages, never beyond the position it is given (I2), each page bounded in bytes
 * by the database itself (I9): a table may turn from small rows to megabytes between two rows.
 */
import type { SourceSql } from '../db/client.ts'
import { quoteIdentifier } from '../events/columns.ts'
import { stampedSince } from '../events/timestamp.ts'
import { noTracing, type Tracing } from '../telemetry/tracing.ts'
import { type BacklogAnswer, type BacklogQuestion, countBacklogs } from './backlogs.ts'
import { Gathering } from './gathering.ts'
import { GroupPage } from './group-page.ts'
import { largestRowBytes, type Oldest, type Page, type PageLimit, type ReadRow } from './page.ts'
import { PageColumns } from './page-columns.ts'
import { comparePositions, earlierOf, origin, type Position } from './position.ts'
import type { Anchor } from './rewind.ts'
import { binding, type Range, type Scope, Selection } from './selection.ts'
import type { Source } from './source.ts'
import type { Tenant } from './tenant.ts'

export type { Oldest, Page, PageLimit, ReadRow } from './page.ts'

/** Beyond this many new rows at once, asking which tenants have some costs more than waking them all. */
const maxRowsAsked = 50_000

/** Rows that lie in a range. */
export interface NewRows {
  /** The tenants that have some, each with its first one, null among them for rows of none; undefined: anybody may. */
  readonly orgs: ReadonlyMap<string | null, Position> | undefined
  /** The first one, whosever it is; undefined where that is not known. */
  readonly first: Position | undefined
}

/** Too many to ask. */
export const anybody: NewRows = { orgs: undefined, first: undefined }

export class Reader {
  readonly #sql: SourceSql
  readonly #source: Source
  readonly #selection: Selection
  readonly #columns: PageColumns
  readonly #sized: string
  readonly #outer: string
  readonly #together: GroupPage
  readonly #gathering: Gathering
  readonly #tracing: Tracing

  constructor(sql: SourceSql, source: Source, tracing: Tracing = noTracing) {
    this.#sql = sql
    this.#tracing = tracing
    this.#source = source
    this.#selection = new Selection(source)
    this.#columns = new PageColumns(source, this.#selection)
    const { size, sorted } = this.#columns
    this.#sized = `s.*, ${size} AS size, coalesce(sum(${size}) OVER (ORDER BY ${sorted} GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS earlier`
    this.#outer = this.#columns.outer(`p.size <= ${largestRowBytes}`, 'p.earlier > 0')
    this.#together = new GroupPage({
      sql,
      source,
      selection: this.#selection,
      columns: this.#columns,
      tracing,
    })
    this.#gathering = new Gathering(this.#together)
  }

  /**
   * The next rows of a range, by rising position. Rows of one place come in one page, or a cursor between them
   * would pass some over. `make` turns each into what is kept of it as soon as it
   * arrives: a page's worth of values that live no longer than their row costs the garbage collector little.
   */
  readPage(scope: Scope, range: Range, limit: PageLimit): Promise<Page>
  readPage<Row>(scope: Scope, range: Range, limit: PageLimit, make: (row: ReadRow) => Row): Promise<Page<Row>>
  async readPage<Row>(
    scope: Scope,
    range: Range,
    limit: PageLimit,
    make?: (row: ReadRow) => Row,
  ): Promise<Page<Row | ReadRow>> {
    const alone = () => this.#readAlone(scope, range, limit, make)
    const question = this.#together.questionOf(scope, range, limit)
    return question ? this.#gathering.read<Row | ReadRow>(question, make ?? ((row) => row), alone) : alone()
  }

  async #readAlone<Row>(
    scope: Scope,
    range: Range,
    limit: PageLimit,
    make?: (row: ReadRow) => Row,
  ): Promise<Page<Row | ReadRow>> {
    const { bind, parameters } = binding()
    const where = this.#selection.where(scope, range, bind)
    const attributes = { 'spillway.log_type': this.#source.definition.logType }
    return this.#tracing.span('spillway.read_page', 'client', attributes, async (span) => {
      const page = await this.#page(where, parameters, limit, make)
      span.set({ 'spillway.page.rows': page.rows.length, 'spillway.page.full': page.full })
      return page
    })
  }

  /**
   * Those of the rows with the given ids that are in scope, in the source's order. Not `full`: the others are not
   * there, or not in scope. Else those beyond the last one may be.
   */
  async readRows(scope: Scope, ids: readonly string[], limit: PageLimit): Promise<Page> {
    const { bind, parameters } = binding()
    const { order } = this.#selection
    const where = [order.oneOf(ids, bind), ...this.#selection.belonging(scope, bind)].join(' AND ')
    return this.#page(where, parameters, limit)
  }

  #page(where: string, parameters: string[], limit: PageLimit): Promise<Page>
  #page<Row>(
    where: string,
    parameters: string[],
    limit: PageLimit,
    make: ((row: ReadRow) => Row) | undefined,
  ): Promise<Page<Row | ReadRow>>
  async #page<Row>(
    where: string,
    parameters: string[],
    limit: PageLimit,
    make?: (row: ReadRow) => Row,
  ): Promise<Page<Row | ReadRow>> {
    const rowLimit = parameters.push(String(limit.rows))
    const byteLimit = parameters.push(String(limit.bytes))
    const rows: (Row | ReadRow)[] = []
    let last: Position | undefined
    let isFilled = false
    let oldest: Oldest
    const columns = this.#columns
    let changed = false
    await this.#sql.each(
      `SELECT ${this.#outer}, CASE WHEN p.earlier + p.size >= $${byteLimit}::bigint THEN 't' END AS fills FROM (
         SELECT ${this.#sized} FROM (
           SELECT ${columns.inner} FROM ${this.#source.relation} t
           WHERE ${where} ORDER BY ${this.#selection.order.keys.join(', ')} FETCH FIRST ($${rowLimit}::bigint) ROWS WITH TIES
         ) s
       ) p WHERE p.earlier < $${byteLimit}::bigint ORDER BY ${columns.sorted}`,
      parameters,
      { prepare: true },
      (values) => {
        changed ||= !columns.areKnown(values)
        if (changed) return
        const row = columns.read(values, last)
        last = row.position
        isFilled = values[columns.width] === 't'
        if (rows.length === 0) oldest = columns.oldestOf(values)
        rows.push(make ? make(row) : row)
      },
    )
    if (changed) throw columns.changed
    if (rows.length === 0) oldest = await this.oldest()
    return { rows, last, full: rows.length >= limit.rows || isFilled, oldest }
  }

  /** How many events a range holds, exactly. */
  async count(scope: Scope, range: Range): Promise<number> {
    const { bind, parameters } = binding()
    const where = this.#selection.where(scope, range, bind)
    const [row] = await this.#sql.query<{ count: string }>(
      `SELECT count(*) AS count FROM ${this.#source.relation} t WHERE ${where}`,
      parameters,
    )
    return Number(row?.count ?? 0)
  }

  /** The place before the first row, for a destination that starts at the beginning. */
  async beginning(): Promise<Position> {
    const before = await this.#beforeFirst('true', [])
    return before !== undefined && comparePositions(before, origin) < 0 ? before : origin
  }

  /** A place before the first row stamped at or after an instant; undefined when there is none. */
  before(instant: string): Promise<Position | undefined> {
    const { name, type } = this.#selection.timestamp
    return this.#beforeFirst(stampedSince(type, `t.${quoteIdentifier(name)}`, '$1::text'), [instant])
  }

  async #beforeFirst(condition: string, parameters: string[]): Promise<Position | undefined> {
    const [row] = await this.#sql.query<{ position: string }>(
      `SELECT ${this.#selection.order.before} AS position FROM ${this.#source.relation} t
       WHERE ${condition} ORDER BY ${this.#selection.order.keys.join(', ')} LIMIT 1`,
      parameters,
    )
    return row?.position
  }

  async oldest(): Promise<Oldest> {
    if (!this.#source.ordered) return undefined
    const [row] = await this.#sql.query<{ position: string | null }>(
      `SELECT (${this.firstRow}) AS position`,
      [],
      { prepare: true },
    )
    return row?.position ?? null
  }

  /** The last row up to a position, and its timestamp as PostgreSQL writes it; null when there is none. */
  async anchor(upTo: Position): Promise<Anchor | null> {
    if (!this.#source.ordered) return null
    const { bind, parameters } = binding()
    const order = this.#selection.order.keys.map((key) => `${key} DESC`).join(', ')
    const [row] = await this.#sql.query<Anchor>(
      `SELECT ${this.#selection.position} AS position, coalesce(${this.#selection.stamp}, '') AS stamp
       FROM ${this.#source.relation} t WHERE ${this.#selection.order.upTo(upTo, bind)} ORDER BY ${order} LIMIT 1`,
      parameters,
      { prepare: true },
    )
    return row ?? null
  }

  /** The position of some row of a partition up to a position; undefined when there is none. */
  async rowIn(partition: string, upTo: Position): Promise<Position | undefined> {
    const { bind, parameters } = binding()
    const [row] = await this.#sql.query<{ position: string }>(
      `SELECT ${this.#selection.position} AS position FROM ${partition} t WHERE ${this.#selection.order.upTo(upTo, bind)} LIMIT 1`,
      parameters,
    )
    return row?.position
  }

  /** Who has rows in a range; null when nobody has. */
  async newRows(range: Range): Promise<NewRows | null> {
    return this.#selection.tenant
      ? this.#rowsOfTenants(this.#selection.tenant, range)
      : this.#rowsOfAll(range)
  }

  async #rowsOfTenants(tenant: Tenant, range: Range): Promise<NewRows | null> {
    const { bind, parameters } = binding()
    const { keys } = this.#selection.order
    const rows = await this.#sql.query<{ org: string | null; rows: string; first: Position }>(
      `SELECT w.org, count(*) AS rows, ${this.#selection.order.firstOf('w')} AS first FROM (
         SELECT ${tenant.expression}::text AS org, ${keys.map((key, index) => `${key} AS k${index}`).join(', ')},
                ${this.#selection.order.position ?? 'NULL'} AS position
         FROM ${this.#source.relation} t WHERE ${this.#selection.within(range, bind)} LIMIT ${maxRowsAsked + 1}
       ) w GROUP BY w.org`,
      parameters,
      { prepare: true },
    )
    if (rows.length === 0) return null
    if (rows.reduce((sum, row) => sum + Number(row.rows), 0) > maxRowsAsked) return anybody
    return {
      orgs: new Map(rows.map(({ org, first }) => [org, first])),
      first: rows.map(({ first }) => first).reduce(earlierOf),
    }
  }

  async #rowsOfAll(range: Range): Promise<NewRows | null> {
    const { bind, parameters } = binding()
    const [row] = await this.#sql.query<{ first: Position }>(
      `SELECT ${this.#selection.position} AS first FROM ${this.#source.relation} t
       WHERE ${this.#selection.within(range, bind)}${this.#selection.inOrder} LIMIT 1`,
      parameters,
      { prepare: true },
    )
    if (!row) return null
    return { orgs: undefined, first: this.#source.ordered ? row.first : undefined }
  }

  /** Finding the first row after a position takes no scan of the table. */
  get isOrdered(): boolean {
    return this.#source.ordered
  }

  /** How many events wait in ranges, in one statement. */
  backlogs(asked: readonly BacklogQuestion[]): Promise<BacklogAnswer[]> {
    return countBacklogs(this.#sql, this.#selection, asked)
  }

  /** Whether there is a row after a position, safe to read or not. */
  async hasRowsAfter(position: Position): Promise<boolean> {
    const { bind, parameters } = binding()
    const [row] = await this.#sql.query<{ found: string }>(
      `SELECT EXISTS (SELECT FROM ${this.#source.relation} t WHERE ${this.#selection.order.after(position, bind)}) AS found`,
      parameters,
      { prepare: true },
    )
    return row?.found === 't'
  }

  /**
   * Of many cursors, the indexes of those with a row between them and the horizon, one index probe each; and the
   * first such row, where that takes no more.
   */
  async due(
    cursors: readonly { scope: Scope; position: Position }[],
    horizon: Position,
  ): Promise<Map<number, Position | undefined>> {
    const tenant = this.#selection.tenant
    const possible = cursors.flatMap(({ scope: { orgId }, position }, index) =>
      orgId === null || tenant?.accepts(orgId)
        ? [{ index, org: orgId, ...this.#selection.order.cursorOf(position) }]
        : [],
    )
    const { bind, parameters } = binding(JSON.stringify(possible))
    const upTo = this.#selection.order.upTo(horizon, bind)
    const first = (condition: string) =>
      this.#selection.order.afterCursor(
        (after) =>
          `(SELECT ${this.#selection.position} FROM ${this.#source.relation} t WHERE ${condition} AND ${after} AND ${upTo}${this.#selection.inOrder} LIMIT 1)`,
      )
    const found = await this.#sql.query<{ index: string; first: Position }>(
      `SELECT f.index, f.first FROM (
         SELECT c.index, CASE WHEN c.org IS NULL THEN ${first('true')}
                              ELSE ${tenant ? first(`${tenant.expression} = c.org`) : 'NULL'} END AS first
         FROM jsonb_to_recordset($1::text::jsonb)
           AS c(index int, org ${tenant?.type ?? 'text'}, ${this.#selection.order.cursorColumns})
         OFFSET 0
       ) f WHERE f.first IS NOT NULL`,
      parameters,
    )
    const { ordered } = this.#source
    return new Map(found.map(({ index, first }) => [Number(index), ordered ? first : undefined]))
  }

  /** A statement that finds the position of the table's first row. */
  get firstRow(): string {
    return this.#columns.firstRow
  }
}
