/**
 * The rows of dead letters, as they are now, in pages: a stream reads them like a table whose positions are the ids
 * of the dead letters. Those whose rows are gone, or belong to another tenant by now (I7), are left out.
 */
import type { Position } from '../sources/position.ts'
import type { Page, PageLimit, Reader, ReadRow } from '../sources/reader.ts'
import type { Range, Scope } from '../sources/selection.ts'
import type { ReplayFacts } from './replay-facts.ts'
import type { ReplayRange } from './replay-store.ts'
import type { PageReader } from './stream-source.ts'

/** Looked up one by one in an index. */
const mostRows = 200

export class DeadLetterReader implements PageReader {
  readonly #facts: Pick<ReplayFacts, 'deadLetters'>
  readonly #reader: Pick<Reader, 'readRows'>
  readonly #of: { readonly destinationId: number; readonly logType: string; readonly life: string }

  constructor(
    facts: Pick<ReplayFacts, 'deadLetters'>,
    reader: Pick<Reader, 'readRows'>,
    destinationId: number,
    { logType, life }: Pick<ReplayRange, 'logType' | 'life'>,
  ) {
    this.#facts = facts
    this.#reader = reader
    this.#of = { destinationId, logType, life }
  }

  async readPage<Row>(
    { orgId }: Scope,
    { after, upTo }: Range,
    limit: PageLimit,
    make: (row: ReadRow) => Row,
  ): Promise<Page<Row>> {
    const count = Math.min(limit.rows, mostRows)
    const letters = await this.#facts.deadLetters(this.#of, after, upTo, count)
    const rows: Row[] = []
    let read = await this.#read({ orgId }, letters, limit)
    let last: Position | undefined
    for (const letter of letters) {
      let found = read.rows.get(letter.event_id)
      if (!found && !read.complete) {
        // The page was full of the others. This one comes first in the next page, or in one of its own.
        if (last !== undefined) return { rows, last, full: true, oldest: undefined }
        read = await this.#read({ orgId }, [letter], limit)
        found = read.rows.get(letter.event_id)
        read = { rows: read.rows, complete: false }
      }
      if (found) rows.push(make({ ...found, position: letter.id }))
      last = letter.id
    }
    return { rows, last, full: letters.length >= count, oldest: undefined }
  }

  async #read(scope: Scope, letters: readonly { event_id: string }[], limit: PageLimit) {
    const prefix = `${this.#of.logType}:`
    const ids = letters.map(({ event_id }) => event_id.slice(prefix.length))
    if (ids.length === 0) return { rows: new Map<string, ReadRow>(), complete: true }
    const page = await this.#reader.readRows(scope, ids, { ...limit, rows: ids.length + 1 })
    // Of several rows with one id the first is the event.
    const rows = new Map(page.rows.toReversed().map((row) => [row.event.id, row]))
    return { rows, complete: !page.full }
  }
}
