/**
 * Giving up a backlog, on the record (I1, I5): the cursors go to the horizon, and each range that is left
 * out is written down with its exact count, in the write that moves the cursor.
 */
import type { Clock } from '../clock.ts'
import type { Destination } from '../destinations/destination.ts'
import { comparePositions } from '../sources/position.ts'
import type { CursorWriter } from './cursor-writer.ts'
import type { LoggedRange, Reporter } from './reporter.ts'
import type { DeliveryStore } from './store.ts'
import type { Stream } from './stream.ts'

export interface BacklogDeps {
  readonly store: DeliveryStore
  readonly clock: Clock
  readonly reporter: Reporter
}

export class Backlog {
  readonly #destination: Destination
  readonly #writer: CursorWriter
  readonly #deps: BacklogDeps
  /** Since when the destination was disabled, while that has not been judged for all its streams. */
  #disabledAt: number | undefined
  readonly #judged = new Set<Stream>()

  constructor(
    destination: Destination,
    disabledAt: number | undefined,
    writer: CursorWriter,
    deps: BacklogDeps,
  ) {
    this.#destination = destination
    this.#disabledAt = disabledAt
    this.#writer = writer
    this.#deps = deps
  }

  /** Only while no batch of the streams is on its way. */
  async abandon(streams: readonly Stream[], failingForMs: number): Promise<void> {
    const ranges: LoggedRange[] = []
    for (const stream of streams) {
      const range = await this.#skipToHorizon(stream)
      if (range) ranges.push(range)
    }
    if (ranges.length > 0) this.#deps.reporter.abandoned(ranges, failingForMs)
  }

  /**
   * A backlog that grew past its age while its destination was disabled is skipped like any other, before
   * anything of it is sent: each stream's as soon as its source can be read.
   */
  async judgeDisabledTime(streams: readonly Stream[]): Promise<void> {
    if (this.#disabledAt === undefined) return
    const { delivery, id, logTypes } = this.#destination
    const disabledMs = this.#deps.clock.now() - this.#disabledAt
    if (disabledMs >= delivery.maxBacklogAgeMs && delivery.onBacklogExpiry === 'skip') {
      const readable = streams.filter(
        (stream) => stream.source.horizon !== undefined && !this.#judged.has(stream),
      )
      await this.abandon(readable, disabledMs)
      for (const stream of readable) this.#judged.add(stream)
      if (this.#judged.size < logTypes.length) return
    }
    await this.#writer.retry(() => this.#deps.store.clearDisabledAt(id))
    this.#disabledAt = undefined
  }

  async #skipToHorizon(stream: Stream): Promise<LoggedRange | undefined> {
    const { reader, horizon } = stream.source
    const from = stream.position
    if (!reader || horizon === undefined || comparePositions(from, horizon) >= 0) return undefined
    const count = await this.#writer.retry(() =>
      reader.count(stream.scopeAfter(from), { after: from, upTo: horizon }),
    )
    const range = { from, to: horizon, count, reason: 'backlog_expired' }
    const skipped = count > 0 ? [range] : []
    await this.#writer.write(stream, { to: horizon, skipped, deadLetters: [], accepted: 0 }, [])
    stream.rewind()
    return count > 0 ? { ...range, logType: stream.logType } : undefined
  }
}
