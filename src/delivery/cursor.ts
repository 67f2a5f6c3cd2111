/** A cursor as it is stored, and how its parts are written in SQL. */
import type { Sql } from '../db/client.ts'
import type { StartMark } from '../sources/order.ts'
import type { Position } from '../sources/position.ts'

/** A refused batch that is being divided, over crashes and failures; see `Halving`. */
export interface Divided {
  /** Its end. */
  readonly to: Position
  /** Something of it was accepted: what is refused of it is to blame itself. */
  readonly accepted: boolean
}

export interface Cursor {
  /**
   * Made anew when the cursor is started or set anew: a position is no identity across two lives of a source, and
   * what was known of the former one must move nothing.
   */
  readonly life: string
  readonly position: Position
  readonly frozen: readonly Position[]
  readonly start?: StartMark
  readonly divided?: Divided
  /** Rows were known to wait beyond it while it stood there. */
  readonly rowsWait?: true
  /** How long the destination was disabled before it was enabled, while that has not been judged. */
  readonly disabledForMs?: number
}

/** As PostgreSQL writes it as JSON. */
export interface CursorJson {
  readonly logType: string
  readonly life: string
  readonly position: string
  readonly frozen: string[]
  readonly divided: Divided | null
  readonly startUntil: string | null
  readonly startXid: string | null
  readonly startSeen: string | null
  readonly startSnapshot: string | null
  readonly rowsWait: boolean | null
  readonly disabledForMs: number | null
}

export function toCursor(json: CursorJson): Cursor {
  const { life, position, frozen, divided, rowsWait, disabledForMs } = json
  const start = startMark(json)
  return {
    life,
    position,
    frozen,
    ...(start ? { start } : {}),
    ...(divided === null ? {} : { divided }),
    ...(rowsWait ? { rowsWait } : {}),
    ...(disabledForMs === null ? {} : { disabledForMs }),
  }
}

export function startMark({
  startUntil: until,
  startXid,
  startSeen,
  startSnapshot,
}: Pick<CursorJson, 'startUntil' | 'startXid' | 'startSeen' | 'startSnapshot'>): StartMark | undefined {
  if (until === null) return undefined
  if (startSnapshot !== null) return { kind: 'snapshot', until, snapshot: startSnapshot }
  if (startXid === null || startSeen === null) return undefined
  return { kind: 'ids', until, xid: startXid, seen: startSeen }
}

/** A PostgreSQL array literal; the keys in positions may be any text. */
export function arrayLiteral(positions: readonly string[]): string {
  const quoted = positions.map((position) =>
    /^[\d-]+$/.test(position) ? position : `"${position.replace(/["\\]/g, '\\$&')}"`,
  )
  return `{${quoted.join(',')}}`
}

/** A timestamp in SQL of epoch milliseconds. */
export function instant(epochMs: number | undefined): string | null {
  return epochMs === undefined ? null : new Date(epochMs).toISOString()
}

/** Of a column with a timestamp: epoch milliseconds. */
export function epochMs(sql: Sql, column: string) {
  return sql.unsafe(`(extract(epoch FROM ${column}) * 1000)::float8`)
}
