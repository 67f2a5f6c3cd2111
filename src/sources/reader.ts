/**
 * Reads a source's rows in pages, never beyond the position it is given (I2), each page bounded in bytes
 * by the database itself (I9): a table may turn from small rows to megabytes between two rows.
 */
import type { AuditEvent } from '../../providers/provider.ts'
import type { SourceSql } from '../db/client.ts'
import { SourceError } from '../errors.ts'
import { type Column, quoteIdentifier, selectExpression, sizeExpression } from '../events/columns.ts'
import { type RowShape, type RowValues, rowShape } from '../events/row.ts'
import { stampedSince } from '../events/timestamp.ts'
import { columnsMark } from './catalog-columns.ts'
import { type Bind, type Order, orderOf, type StartMark } from './order.ts'
import { comparePositions, origin, type Position } from './position.ts'
import type { Anchor } from './rewind.ts'
import type { Source } from './source.ts'
import { Tenant } from './tenant.ts'

/** Which rows belong to a destination: its tenant's, and none that are older than the destination. */
export interface Scope {
  /** Null means every tenant's. */
  readonly orgId: string | null
  readonly start?: StartMark
  readonly stamped?: Stamped
}

/** Rows by their timestamps, as texts of PostgreSQL or ISO 8601; a row without one is in no such time. */
export interface Stamped {
  readonly since: string
  /** Exclusive. */
  readonly until?: string
}

export interface Range {
  /** Exclusive. */
  readonly after: Position
  /** Inclusive. */
  readonly upTo: Position
}

export interface ReadRow {
  readonly position: Position
  readonly event: AuditEvent
  /** The row is larger than any destination takes, and was left in the database: `event` has no data. */
  readonly oversizeBytes?: number
  /** An earlier row has the same place, and so the same event id. */
  readonly isDuplicate?: true
}

/** Three times what the most generous provider takes for an event. A row of a gigabyte must not be fetched. */
const largestRowBytes = 16 * 1024 * 1024
/** Beyond this many new rows at once, asking which tenants have some costs more than waking them all. */
const maxRowsAsked = 50_000

export interface Page<Row = ReadRow> {
  readonly rows: readonly Row[]
  /** Of the last row; undefined when there is none. */
  readonly last: Position | undefined
  /** The page ended at its limit: there may be more rows in the range. */
  readonly full: boolean
  /** Of the table's first row, whosever it is, in the same snapshot. */
  readonly oldest: Oldest
}

/** Null when the table is empty; undefined where finding the first row would take a scan of the table. */
export type Oldest = Position | null | undefined

export interface PageLimit {
  readonly rows: number
  /** The rows' size by the database's count; the first row comes whatever its size. */
  readonly bytes: number
}

export class Reader {
  readonly #sql: SourceSql
  readonly #source: Source
  readonly #shape: RowShape
  readonly #timestamp: Column
  readonly #order: Order
  readonly #tenant: Tenant | undefined
  readonly #inner: string
  readonly #sized: string
  readonly #sorted: string
  readonly #outer: string

  constructor(sql: SourceSql, source: Source) {
    this.#sql = sql
    this.#source = source
    const { definition, allColumns, columns } = source
    const named = (name: string) => {
      const column = allColumns.find((candidate) => candidate.name === name)
      if (!column) throw new Error(`column ${name} was checked when the source was resolved`)
      return column
    }
    const org = definition.orgColumn === null ? undefined : named(definition.orgColumn)
    this.#timestamp = named(definition.timestampColumn)
    this.#shape = rowShape({
      logType: definition.logType,
      columns,
      id: named(definition.idColumn),
      org,
      timestamp: this.#timestamp,
    })
    this.#order = orderOf(
      named(definition.idColumn),
      definition.xactColumn === null ? undefined : named(definition.xactColumn),
    )
    this.#tenant = org && new Tenant(org, 't')
    const { selected } = this.#shape
    const sizes = selected.map((column, index) => sizeExpression(column, `s.c${index}`))
    const size = sizes.filter((each) => each !== undefined).join(' + ') || '0'
    const list = selected.map((column, index) => `${selectExpression(column, 't')} AS c${index}`)
    const { keys, position } = this.#order
    this.#inner = [
      ...list,
      ...keys.map((key, index) => `${key} AS k${index}`),
      `${position ?? 'NULL'} AS position`,
    ].join(', ')
    this.#sorted = keys.map((_, index) => `k${index}`).join(', ')
    this.#sized = `s.*, ${size} AS size, coalesce(sum(${size}) OVER (ORDER BY ${this.#sorted} GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS earlier`
    // Written so that it means the same whatever standard_conforming_strings is.
    const relation = `E'${source.relation.replace(/['\\]/g, '$&$&')}'`
    const unchanged = `${columnsMark(`to_regclass(${relation})`, source.composites)} = '${source.columnsMark}'`
    this.#outer = [
      ...selected.map((_, index) =>
        this.#shape.identifies(index)
          ? `p.c${index}`
          : `CASE WHEN p.size <= ${largestRowBytes} THEN p.c${index} END`,
      ),
      'p.size',
      'p.earlier',
      'p.position',
      `${source.ordered ? `(${this.firstRow})` : 'NULL'} AS oldest`,
      `${unchanged} AS unchanged`,
    ].join(', ')
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
    const { bind, parameters } = binding()
    const where = [this.#within(range, bind), ...this.#belonging(scope, bind)].join(' AND ')
    return this.#page(where, parameters, limit, make)
  }

  /**
   * Those of the rows with the given ids that are in scope, in the source's order. Not `full`: the others are not
   * there, or not in scope. Else those beyond the last one may be.
   */
  async readRows(scope: Scope, ids: readonly string[], limit: PageLimit): Promise<Page> {
    const { bind, parameters } = binding()
    const where = [this.#order.oneOf(ids, bind), ...this.#belonging(scope, bind)].join(' AND ')
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
    let running = 0
    let oldest: Oldest
    const after = this.#shape.selected.length
    let changed = false
    await this.#sql.each(
      `SELECT ${this.#outer} FROM (
         SELECT ${this.#sized} FROM (
           SELECT ${this.#inner} FROM ${this.#source.relation} t
           WHERE ${where} ORDER BY ${this.#order.keys.join(', ')} FETCH FIRST ($${rowLimit}::bigint) ROWS WITH TIES
         ) s
       ) p WHERE p.earlier < $${byteLimit}::bigint ORDER BY ${this.#sorted}`,
      parameters,
      { prepare: true },
      (values) => {
        changed ||= values[after + 4] !== 't'
        // What its values are is not known any more.
        if (changed) return
        const read = this.#read(values)
        const row: ReadRow = read.position === last ? { ...read, isDuplicate: true } : read
        last = row.position
        running = Number(values[after + 1] ?? 0) + Number(values[after] ?? 0)
        oldest = values[after + 3] ?? undefined
        rows.push(make ? make(row) : row)
      },
    )
    if (changed) {
      throw new SourceError(
        `source ${this.#source.definition.logType}: ${this.#source.relation} has changed since it was looked up`,
        'Nothing to do: it is looked up again.',
      )
    }
    if (rows.length === 0) oldest = await this.oldest()
    return { rows, last, full: rows.length >= limit.rows || running >= limit.bytes, oldest }
  }

  #read(values: RowValues): ReadRow {
    const after = this.#shape.selected.length
    const position = values[after + 2] ?? this.#shape.idOf(values)
    const event = this.#shape.toEvent(values)
    const bytes = Number(values[after] ?? 0)
    return bytes > largestRowBytes ? { position, event, oversizeBytes: bytes } : { position, event }
  }

  /** How many events a range holds, exactly. */
  async count(scope: Scope, range: Range): Promise<number> {
    const { bind, parameters } = binding()
    const where = [this.#within(range, bind), ...this.#belonging(scope, bind)].join(' AND ')
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
    const { name, type } = this.#timestamp
    return this.#beforeFirst(stampedSince(type, `t.${quoteIdentifier(name)}`, '$1::text'), [instant])
  }

  async #beforeFirst(condition: string, parameters: string[]): Promise<Position | undefined> {
    const [row] = await this.#sql.query<{ position: string }>(
      `SELECT ${this.#order.before} AS position FROM ${this.#source.relation} t
       WHERE ${condition} ORDER BY ${this.#order.keys.join(', ')} LIMIT 1`,
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
    const order = this.#order.keys.map((key) => `${key} DESC`).join(', ')
    const [row] = await this.#sql.query<Anchor>(
      `SELECT ${this.#position} AS position, coalesce(${this.#stamp}, '') AS stamp
       FROM ${this.#source.relation} t WHERE ${this.#order.upTo(upTo, bind)} ORDER BY ${order} LIMIT 1`,
      parameters,
      { prepare: true },
    )
    return row ?? null
  }

  /** The position of some row of a partition up to a position; undefined when there is none. */
  async rowIn(partition: string, upTo: Position): Promise<Position | undefined> {
    const { bind, parameters } = binding()
    const [row] = await this.#sql.query<{ position: string }>(
      `SELECT ${this.#position} AS position FROM ${partition} t WHERE ${this.#order.upTo(upTo, bind)} LIMIT 1`,
      parameters,
    )
    return row?.position
  }

  /**
   * Tenants with rows in a range, null among them for rows of none. Undefined when it holds too many rows to
   * ask: anybody may have some.
   */
  async orgs(range: Range): Promise<ReadonlySet<string | null> | undefined> {
    const { bind, parameters } = binding()
    const org = this.#tenant ? `${this.#tenant.expression}::text` : 'NULL'
    const rows = await this.#sql.query<{ org: string | null; rows: string }>(
      `SELECT w.org, count(*) AS rows FROM (
         SELECT ${org} AS org FROM ${this.#source.relation} t WHERE ${this.#within(range, bind)}
         LIMIT ${(this.#tenant ? maxRowsAsked : 0) + 1}
       ) w GROUP BY w.org`,
      parameters,
      { prepare: true },
    )
    const total = rows.reduce((sum, row) => sum + Number(row.rows), 0)
    const anybody = this.#tenant ? total > maxRowsAsked : total > 0
    return anybody ? undefined : new Set(rows.map((row) => row.org))
  }

  /** Whether there is a row after a position, safe to read or not. */
  async hasRowsAfter(position: Position): Promise<boolean> {
    const { bind, parameters } = binding()
    const [row] = await this.#sql.query<{ found: string }>(
      `SELECT EXISTS (SELECT FROM ${this.#source.relation} t WHERE ${this.#order.after(position, bind)}) AS found`,
      parameters,
      { prepare: true },
    )
    return row?.found === 't'
  }

  /** Of many cursors, the indexes of those with a row between them and the horizon: one index probe each. */
  async due(cursors: readonly { scope: Scope; position: Position }[], horizon: Position): Promise<number[]> {
    const tenant = this.#tenant
    const possible = cursors.flatMap(({ scope: { orgId }, position }, index) =>
      orgId === null || tenant?.accepts(orgId)
        ? [{ index, org: orgId, ...this.#order.cursorOf(position) }]
        : [],
    )
    const { bind, parameters } = binding(JSON.stringify(possible))
    const upTo = this.#order.upTo(horizon, bind)
    const some = (condition: string) =>
      this.#order.someAfterCursor(
        (after) =>
          `EXISTS (SELECT FROM ${this.#source.relation} t WHERE ${condition} AND ${after} AND ${upTo})`,
      )
    const found = await this.#sql.query<{ index: string }>(
      `SELECT c.index
       FROM jsonb_to_recordset($1::text::jsonb)
         AS c(index int, org ${tenant?.type ?? 'text'}, ${this.#order.cursorColumns})
       WHERE CASE WHEN c.org IS NULL THEN ${some('true')}
                  ELSE ${tenant ? some(`${tenant.expression} = c.org`) : 'false'} END`,
      parameters,
    )
    return found.map(({ index }) => Number(index))
  }

  /** A statement that finds the position of the table's first row. */
  get firstRow(): string {
    return `SELECT ${this.#position} FROM ${this.#source.relation} t ORDER BY ${this.#order.keys.join(', ')} LIMIT 1`
  }

  get #position(): string {
    return this.#order.position ?? `t.${quoteIdentifier(this.#source.definition.idColumn)}::text`
  }

  get #stamp(): string {
    return `t.${quoteIdentifier(this.#source.definition.timestampColumn)}::text`
  }

  #within({ after, upTo }: Range, bind: Bind): string {
    return `${this.#order.after(after, bind)} AND ${this.#order.upTo(upTo, bind)}`
  }

  #belonging({ orgId, start, stamped }: Scope, bind: Bind): string[] {
    const conditions: string[] = []
    if (orgId !== null) {
      // The registry refuses a tenant's destination on a source without tenants; this is the second lock (I7).
      const tenant = this.#tenant
      conditions.push(
        tenant?.accepts(orgId) ? `${tenant.expression} = ${bind(orgId)}::${tenant.type}` : 'false',
      )
    }
    if (start) conditions.push(this.#order.startedSince(start, bind))
    if (stamped) {
      const { name, type } = this.#timestamp
      const since = (instant: string) =>
        stampedSince(type, `t.${quoteIdentifier(name)}`, `${bind(instant)}::text`)
      conditions.push(since(stamped.since))
      if (stamped.until !== undefined) conditions.push(`NOT (${since(stamped.until)})`)
    }
    return conditions
  }
}

/** The parameters of one statement, collected while it is written. */
function binding(...parameters: string[]): { bind: Bind; parameters: string[] } {
  return { bind: (value) => `$${parameters.push(value)}`, parameters }
}
