/** What statements select of a row to make an event of it, and how the values that come back are read. */
import { SourceError } from '../errors.ts'
import { quoteText, selectExpression, sizeExpression } from '../events/columns.ts'
import { type RowShape, type RowValues, rowShape } from '../events/row.ts'
import { columnsMark } from './catalog-columns.ts'
import { largestRowBytes, type Oldest, type ReadRow } from './page.ts'
import type { Position } from './position.ts'
import type { Selection } from './selection.ts'
import type { Source } from './source.ts'

export class PageColumns {
  /** Of the audit table `t`: the values, then the keys `k0`, … and `position`. */
  readonly inner: string
  /** The bytes of a row of those, which is called `s`. */
  readonly size: string
  /** The keys in their order. */
  readonly sorted: string
  /** A statement that finds the position of the table's first row. */
  readonly firstRow: string
  readonly #source: Source
  readonly #shape: RowShape
  readonly #unchanged: string

  constructor(source: Source, selection: Selection) {
    this.#source = source
    const { id, org, timestamp, order } = selection
    const { logType } = source.definition
    this.#shape = rowShape({ logType, columns: source.columns, id, org, timestamp })
    const { selected } = this.#shape
    const sizes = selected.map((column, index) => sizeExpression(column, `s.c${index}`))
    this.size = sizes.filter((each) => each !== undefined).join(' + ') || '0'
    const { keys, position } = order
    this.inner = [
      ...selected.map((column, index) => `${selectExpression(column, 't')} AS c${index}`),
      ...keys.map((key, index) => `${key} AS k${index}`),
      `${position ?? 'NULL'} AS position`,
    ].join(', ')
    this.sorted = keys.map((_, index) => `k${index}`).join(', ')
    this.firstRow = `SELECT ${selection.position} FROM ${source.relation} t ORDER BY ${keys.join(', ')} LIMIT 1`
    this.#unchanged = `${columnsMark(`to_regclass(${quoteText(source.relation)})`, source.composites)} = '${source.columnsMark}'`
  }

  /**
   * What comes of the rows `p`, which have `inner` and their `size`; of one for which `fits` does not hold only what
   * tells which event it is. What nearly all rows would say alike is NULL, because every value is a string to make
   * here; `later`: whether a row is not the first.
   */
  outer(fits: string, later: string): string {
    return [
      ...this.#shape.selected.map((_, index) =>
        this.#shape.identifies(index) ? `p.c${index}` : `CASE WHEN ${fits} THEN p.c${index} END`,
      ),
      `CASE WHEN p.size > ${largestRowBytes} THEN p.size END AS oversize`,
      'p.position',
      `${this.#source.ordered ? `CASE WHEN ${later} THEN NULL ELSE (${this.firstRow}) END` : 'NULL'} AS oldest`,
      `CASE WHEN ${this.#unchanged} THEN NULL ELSE 'f' END AS unchanged`,
    ].join(', ')
  }

  /** How many values `outer` brings: what a statement selects beside them comes after. */
  get width(): number {
    return this.#shape.selected.length + 4
  }

  /** Of the table's first row, in the statement's snapshot; `values`: of the first row that came, or of no row. */
  oldestOf(values: RowValues): Oldest {
    return this.#source.ordered ? (values[this.#shape.selected.length + 2] ?? null) : undefined
  }

  /** The table's columns are what they were when it was looked up; if not, it is not known what the values are. */
  areKnown(values: RowValues): boolean {
    return values[this.#shape.selected.length + 3] === null
  }

  /** `last`: the position of the row before, for whoever it is read. */
  read(values: RowValues, last: Position | undefined): ReadRow {
    const position = values[this.#shape.selected.length + 1] ?? this.#shape.idOf(values)
    const event = this.#shape.toEvent(values)
    const oversize = values[this.#shape.selected.length]
    const row = oversize ? { position, event, oversizeBytes: Number(oversize) } : { position, event }
    return position === last ? { ...row, isDuplicate: true } : row
  }

  get changed(): SourceError {
    return new SourceError(
      `source ${this.#source.definition.logType}: ${this.#source.relation} has changed since it was looked up`,
      'Nothing to do: it is looked up again.',
    )
  }
}
