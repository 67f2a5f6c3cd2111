/** What streams read from. */
import type { Position } from '../sources/position.ts'
import type { Oldest, Page, PageLimit, Reader, ReadRow } from '../sources/reader.ts'
import type { Range, Scope } from '../sources/selection.ts'

/** The source as a stream sees it; all undefined while it cannot be read. */
export interface SourceView {
  readonly reader: Reader | undefined
  readonly horizon: Position | undefined
  /** Which of its lives in this run it is. */
  readonly life: number
  /** The table's first row when it was last looked at. */
  readonly oldest: Oldest
  /** The table's first row when whoever delivered before may have looked at it last; without anybody, at the first look. */
  readonly formerOldest: Oldest
}

/** What a stream itself needs of its source. */
export interface StreamSource {
  readonly reader: PageReader | undefined
  readonly horizon: Position | undefined
  readonly oldest: Oldest
}

export interface PageReader {
  readPage<Row>(scope: Scope, range: Range, limit: PageLimit, make: (row: ReadRow) => Row): Promise<Page<Row>>
}
