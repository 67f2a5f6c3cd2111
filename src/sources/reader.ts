/**
 * Reads a source's rows in pages, never beyond the position it is given (I2), each page bounded in bytes
 * by the database itself (I9): a table may turn from small rows to megabytes between two rows.
 */
import type { AuditEvent } from '../../providers/provider.ts'
import type { SourceSql } from '../db/client.ts'
import { quoteIdentifier, selectExpression, sizeExpression } from '../events/columns.ts'
import { type RowShape, type RowValues, rowShape } from '../events/row.ts'
import { origin, type Position } from './position.ts'
import type { Source } from './source.ts'
import { Tenant } from './tenant.ts'

/** Which rows belong to a destination: its tenant's, and none that are older than the destination. */
export interface Scope {
  /** Null means every tenant's. */
  readonly orgId: string | null
  readonly start?: StartMark
}

/** Up to `until`, rows of transactions before `xid` and those in `seen` were there before the destination. */
export interface StartMark {
  readonly until: Position
  readonly xid: string
  /** Ids, as PostgreSQL writes an int8multirange. */
  readonly seen: string
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
}

/** Three times what the most generous provider takes for an event. A row of a gigabyte must not be fetched. */
const largestRowBytes = 16 * 1024 * 1024

export interface Page<Row = ReadRow> {
  readonly rows: readonly Row[]
  /** Of the last row; undefined when there is none. */
  readonly last: Position | undefined
  /** The page ended at its limit: there may be more rows in the range. */
  readonly full: boolean
}

export interface PageLimit {
  readonly rows: number
  /** The rows' size by the database's count; the first row comes whatever its size. */
  readonly bytes: number
}

export class Reader {
  readonly #sql: SourceSql
  readonly #source: Source
  readonly #shape: RowShape
  readonly #id: string
  readonly #tenant: Tenant | undefined
  readonly #inner: string
  readonly #sized: string
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
    this.#shape = rowShape({
      logType: definition.logType,
      columns,
      id: named(definition.idColumn),
      org,
      timestamp: named(definition.timestampColumn),
    })
    this.#id = `t.${quoteIdentifier(definition.idColumn)}`
    this.#tenant = org && new Tenant(org, 't')
    const { selected } = this.#shape
    const sizes = selected.map((column, index) => sizeExpression(column, `s.c${index}`))
    const size = sizes.filter((each) => each !== undefined).join(' + ') || '0'
    const list = selected.map((column, index) => `${selectExpression(column, 't')} AS c${index}`).join(', ')
    this.#inner = `${list}, ${this.#id} AS position`
    this.#sized = `s.*, ${size} AS size, sum(${size}) OVER (ORDER BY s.position ROWS UNBOUNDED PRECEDING) AS running`
    this.#outer = selected
      .map((_, index) =>
        this.#shape.identifies(index)
          ? `p.c${index}`
          : `CASE WHEN p.size <= ${largestRowBytes} THEN p.c${index} END`,
      )
      .join(', ')
  }

  /**
   * The next rows of a range, by rising position. `make` turns each into what is kept of it as soon as it
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
    const { where, parameters } = this.#conditions(scope, range)
    const rowLimit = parameters.push(String(limit.rows))
    const byteLimit = parameters.push(String(limit.bytes))
    const rows: (Row | ReadRow)[] = []
    let last: Position | undefined
    let running = 0
    await this.#sql.each(
      `SELECT ${this.#outer}, p.size, p.running FROM (
           SELECT ${this.#sized} FROM (
             SELECT ${this.#inner} FROM ${this.#source.relation} t
             WHERE ${where} ORDER BY ${this.#id} LIMIT $${rowLimit}::bigint
           ) s
         ) p WHERE p.running - p.size < $${byteLimit}::bigint ORDER BY p.position`,
      parameters,
      { prepare: true },
      (values) => {
        const row = this.#read(values)
        last = row.position
        running = Number(values.at(-1) ?? 0)
        rows.push(make ? make(row) : row)
      },
    )
    return { rows, last, full: rows.length >= limit.rows || running >= limit.bytes }
  }

  #read(values: RowValues): ReadRow {
    const position = this.#shape.idOf(values)
    const event = this.#shape.toEvent(values)
    const bytes = Number(values.at(-2) ?? 0)
    return bytes > largestRowBytes ? { position, event, oversizeBytes: bytes } : { position, event }
  }

  /** How many events a range holds, exactly. */
  async count(scope: Scope, range: Range): Promise<number> {
    const { where, parameters } = this.#conditions(scope, range)
    const [row] = await this.#sql.query<{ count: string }>(
      `SELECT count(*) AS count FROM ${this.#source.relation} t WHERE ${where}`,
      parameters,
    )
    return Number(row?.count ?? 0)
  }

  /** The place before the first row, for a destination that starts at the beginning. */
  async beginning(): Promise<Position> {
    const [row] = await this.#sql.query<{ position: string | null }>(
      `SELECT least(0, min(${this.#id}) - 1)::text AS position FROM ${this.#source.relation} t`,
    )
    return row?.position ?? origin
  }

  /** The place before the first row stamped at or after an instant; undefined when there is none. */
  async before(instant: string): Promise<Position | undefined> {
    const timestamp = `t.${quoteIdentifier(this.#source.definition.timestampColumn)}`
    const [row] = await this.#sql.query<{ position: string | null }>(
      `SELECT (min(${this.#id}) - 1)::text AS position FROM ${this.#source.relation} t
       WHERE ${timestamp} >= $1::text::timestamptz`,
      [instant],
    )
    return row?.position ?? undefined
  }

  /** Tenants with rows in a range. */
  async orgs({ after, upTo }: Range): Promise<(string | null)[]> {
    if (this.#tenant === undefined) return []
    const rows = await this.#sql.query<{ org: string | null }>(
      `SELECT DISTINCT ${this.#tenant.expression}::text AS org FROM ${this.#source.relation} t
       WHERE ${this.#id} > $1::bigint AND ${this.#id} <= $2::bigint`,
      [after, upTo],
      { prepare: true },
    )
    return rows.map(({ org }) => org)
  }

  /** Of many cursors, the indexes of those with a row between them and the horizon: one index probe each. */
  async due(cursors: readonly { scope: Scope; position: Position }[], horizon: Position): Promise<number[]> {
    const tenant = this.#tenant
    const possible = cursors.flatMap(({ scope: { orgId }, position }, index) =>
      orgId === null || tenant?.accepts(orgId) ? [{ index, org: orgId, position }] : [],
    )
    const some = (condition: string) =>
      `EXISTS (SELECT FROM ${this.#source.relation} t
               WHERE ${condition} AND ${this.#id} > c.position AND ${this.#id} <= $2::bigint)`
    const found = await this.#sql.query<{ index: string }>(
      `SELECT c.index
       FROM jsonb_to_recordset($1::text::jsonb) AS c(index int, org ${tenant?.type ?? 'text'}, position bigint)
       WHERE CASE WHEN c.org IS NULL THEN ${some('true')}
                  ELSE ${tenant ? some(`${tenant.expression} = c.org`) : 'false'} END`,
      [JSON.stringify(possible), horizon],
    )
    return found.map(({ index }) => Number(index))
  }

  #conditions({ orgId, start }: Scope, { after, upTo }: Range): { where: string; parameters: string[] } {
    const parameters = [after, upTo]
    const conditions = [`${this.#id} > $1::bigint`, `${this.#id} <= $2::bigint`]
    if (orgId !== null) {
      // The registry refuses a tenant's destination on a source without tenants; this is the second lock (I7).
      const tenant = this.#tenant
      conditions.push(
        tenant?.accepts(orgId)
          ? `${tenant.expression} = $${parameters.push(orgId)}::${tenant.type}`
          : 'false',
      )
    }
    if (start) {
      const until = parameters.push(start.until)
      const xid = parameters.push(start.xid)
      const seen = `$${parameters.push(start.seen)}::text::int8multirange`
      const isNew = `${writtenSince(`$${xid}::bigint`)} AND NOT ${seen} @> ${this.#id}::bigint`
      conditions.push(`(${this.#id} > $${until}::bigint OR (${isNew}))`)
    }
    return { where: conditions.join(' AND '), parameters }
  }
}

/**
 * Whether the row's transaction is `xid` or a later one. The system column keeps 32 bits of it, so the
 * comparison is modulo 2^32, as PostgreSQL's own is; ids below 3 stand for frozen rows.
 */
function writtenSince(xid: string): string {
  const row = 't.xmin::text::bigint'
  return `(${row} >= 3 AND mod(${row} - mod(${xid}, 4294967296) + 6442450944, 4294967296) >= 2147483648)`
}
