/** Rows of a source as they are read: a page at a time, bounded by count and by bytes. */
import type { AuditEvent } from '../../providers/provider.ts'
import type { Position } from './position.ts'

export interface ReadRow {
  readonly position: Position
  readonly event: AuditEvent
  /** The row is larger than any destination takes, and was left in the database: `event` has no data. */
  readonly oversizeBytes?: number
  /** An earlier row has the same place, and so the same event id. */
  readonly isDuplicate?: true
}

export interface Page<Row = ReadRow> {
  readonly rows: readonly Row[]
  /** Of the last row; undefined when there is none. */
  readonly last: Position | undefined
  /** The page ended at its limit: there may be more rows in the range. */
  readonly full: boolean
  /** Of the table's first row, whosever it is, in the same snapshot. */
  readonly oldest: Oldest
}

export interface PageLimit {
  readonly rows: number
  /** The rows' size by the database's count; the first row comes whatever its size. */
  readonly bytes: number
}

/** Null when the table is empty; undefined where finding the first row would take a scan of the table. */
export type Oldest = Position | null | undefined

/** Three times what the most generous provider takes for an event. A row of a gigabyte must not be fetched. */
export const largestRowBytes = 16 * 1024 * 1024
