/**
 * The SQL of a source's order: what sorts its rows, which of them lie after a position or up to one, and
 * which were there before a destination. `t` stands for the audit table.
 */
import { type Column, quoteIdentifier } from '../events/columns.ts'
import { type Position, parseXactPosition, xactPosition } from './position.ts'

/** Takes a parameter's value and returns how the statement names it: `$3`. */
export type Bind = (value: string) => string

/**
 * How a destination that started at "now" tells the rows that were there before it, up to `until`.
 *
 * Ids: rows of transactions before `xid`, and those whose ids are in `seen`, an int8multirange. Snapshot:
 * rows of transactions that the snapshot, as PostgreSQL writes a pg_snapshot, shows.
 */
export type StartMark =
  | { readonly kind: 'ids'; readonly until: Position; readonly xid: string; readonly seen: string }
  | { readonly kind: 'snapshot'; readonly until: Position; readonly snapshot: string }

export interface Order {
  /** What to sort by. */
  readonly keys: readonly string[]
  /** A row's position as text; undefined where the text of its id is the position. */
  readonly position: string | undefined
  /** The highest position that surely lies before a row. */
  readonly before: string
  after(position: Position, bind: Bind): string
  upTo(position: Position, bind: Bind): string
  /** A row with one of these ids. */
  oneOf(ids: readonly string[], bind: Bind): string
  startedSince(mark: StartMark, bind: Bind): string
  /** For many cursors at once: their columns in a JSON record set `c`, … */
  readonly cursorColumns: string
  /** … one's values for them, … */
  cursorOf(position: Position): Readonly<Record<string, string | null>>
  /** … and an expression built of a condition on the rows after it. */
  afterCursor(build: (after: string) => string): string
  /** Whether a position is a plain one: an id, or the place before a transaction's first row. */
  isPlain(position: Position): boolean
  /** A condition on the rows after a cursor whose position is plain. */
  readonly afterPlain: string
  /** An aggregate: the position of the first of some rows, which have the columns `k0`, … (the keys) and `position`. */
  firstOf(rows: string): string
}

export function orderOf(id: Column, xact: Column | undefined): Order {
  return xact ? new XactOrder(id, reference(xact)) : new IdOrder(reference(id))
}

function reference({ name }: Column): string {
  return `t.${quoteIdentifier(name)}`
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** The key of the `xact` ordering: how it is compared, and as which type a parameter comes. */
interface Key {
  readonly expression: string
  /** For equality, which no collation changes. */
  readonly plain: string
  readonly type: string
  readonly isNumber: boolean
  /** Whether a text can be such a value. */
  takes(text: string): boolean
}

function keyOf(id: Column): Key {
  const plain = reference(id)
  const asText = { type: 'text', isNumber: false, takes: () => true }
  switch (id.type) {
    case 'smallint':
    case 'integer':
    case 'bigint':
      return { expression: plain, plain, type: 'bigint', isNumber: true, takes: isBigint }
    case 'uuid':
      // Its text, lower-case hex, has the order of its bytes.
      return { expression: plain, plain, type: 'uuid', isNumber: false, takes: (text) => uuid.test(text) }
    case 'text':
    case 'character varying':
      return { expression: `${plain} COLLATE "C"`, plain, ...asText }
    default:
      return { expression: `${plain}::text COLLATE "C"`, plain: `${plain}::text`, ...asText }
  }
}

/** Written so that an index on the column serves. Ids that are no such value have no row, and must not fail it. */
function oneOf(
  { plain, type, takes }: Pick<Key, 'plain' | 'type' | 'takes'>,
  ids: readonly string[],
  bind: Bind,
): string {
  const possible = bind(JSON.stringify(ids.filter(takes)))
  return `${plain} = ANY (ARRAY(SELECT value::${type} FROM jsonb_array_elements_text(${possible}::text::jsonb)))`
}

function isBigint(text: string): boolean {
  return /^-?\d{1,19}$/.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text)
}

class IdOrder implements Order {
  readonly keys: readonly string[]
  readonly position = undefined
  readonly before: string
  readonly cursorColumns = 'position bigint'
  readonly afterPlain: string
  readonly #id: string

  constructor(id: string) {
    this.#id = id
    this.keys = [id]
    this.before = `(${id} - 1)::text`
    this.afterPlain = `${id} > c.position`
  }

  after(position: Position, bind: Bind): string {
    return `${this.#id} > ${bind(position)}::bigint`
  }

  upTo(position: Position, bind: Bind): string {
    return `${this.#id} <= ${bind(position)}::bigint`
  }

  oneOf(ids: readonly string[], bind: Bind): string {
    return oneOf({ plain: this.#id, type: 'bigint', takes: isBigint }, ids, bind)
  }

  startedSince(mark: StartMark, bind: Bind): string {
    if (mark.kind !== 'ids') return 'true'
    const seen = `${bind(mark.seen)}::text::int8multirange`
    const isNew = `${writtenSince(`${bind(mark.xid)}::bigint`)} AND NOT ${seen} @> ${this.#id}::bigint`
    return `(${this.#id} > ${bind(mark.until)}::bigint OR (${isNew}))`
  }

  cursorOf(position: Position): Record<string, string> {
    return { position }
  }

  afterCursor(build: (after: string) => string): string {
    return build(this.afterPlain)
  }

  isPlain(): boolean {
    return true
  }

  firstOf(rows: string): string {
    return `min(${rows}.k0)::text`
  }
}

class XactOrder implements Order {
  readonly keys: readonly string[]
  readonly position: string
  readonly before: string
  readonly cursorColumns: string
  readonly afterPlain: string
  readonly #xact: string
  readonly #key: Key

  constructor(id: Column, xact: string) {
    this.#xact = xact
    this.#key = keyOf(id)
    const mark = xactPosition('', '', this.#key.isNumber).replaceAll("'", "''")
    this.keys = [xact, this.#key.expression]
    this.position = `${xact}::text || '${mark}' || ${reference(id)}::text`
    this.before = `${xact}::text`
    this.afterPlain = `${xact} >= c.xact`
    this.cursorColumns = `xact xid8, key ${this.#key.type}`
  }

  after(position: Position, bind: Bind): string {
    return this.#compared(position, bind, '>', '>=')
  }

  upTo(position: Position, bind: Bind): string {
    return this.#compared(position, bind, '<=', '<')
  }

  oneOf(ids: readonly string[], bind: Bind): string {
    return oneOf(this.#key, ids, bind)
  }

  startedSince(mark: StartMark, bind: Bind): string {
    if (mark.kind !== 'snapshot') return 'true'
    return `NOT pg_visible_in_snapshot(${this.#xact}, ${bind(mark.snapshot)}::text::pg_snapshot)`
  }

  cursorOf(position: Position): Record<string, string | null> {
    const { xact, key } = parseXactPosition(position)
    return { xact, key: key ?? null }
  }

  /** Two conditions, since only a plain one can be looked up in an index. */
  afterCursor(build: (after: string) => string): string {
    const bare = build(this.afterPlain)
    const keyed = build(`(${this.#row}) > (c.xact, c.key)`)
    return `CASE WHEN c.key IS NULL THEN ${bare} ELSE ${keyed} END`
  }

  isPlain(position: Position): boolean {
    return parseXactPosition(position).key === undefined
  }

  firstOf(rows: string): string {
    return `(array_agg(${rows}.position ORDER BY ${rows}.k0, ${rows}.k1))[1]`
  }

  get #row(): string {
    return `${this.#xact}, ${this.#key.expression}`
  }

  #compared(position: Position, bind: Bind, row: '>' | '<=', transaction: '>=' | '<'): string {
    const { xact, key } = parseXactPosition(position)
    const bound = `${bind(xact)}::text::xid8`
    if (key === undefined) return `${this.#xact} ${transaction} ${bound}`
    return `(${this.#row}) ${row} (${bound}, ${bind(key)}::text::${this.#key.type})`
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
