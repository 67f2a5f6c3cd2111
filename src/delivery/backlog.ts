/**
 * Giving up a backlog, on the record (I1, I5): the cursors go to the horizon, and each range that is left
 * out is written down with its exact count, in the write that moves the cursor.
 */
import type { Availability } from '../db/availability.ts'
import type { Destination } from '../destinations/destination.ts'
import { comparePositions } from '../sources/position.ts'
import type { CursorWriter } from './cursor-writer.ts'
import type { LoggedRange, Reporter } from './reporter.ts'
import type { DeliveryStore } from './store.ts'
import type { Stream } from './stream.ts'

export interface BacklogDeps {
  readonly store: DeliveryStore
  /** Of the database with the audit tables. */
  readonly sourceAvailability: Availability
  readonly reporter: Reporter
}

export class Backlog {
  readonly #destination: Destination
  readonly #writer: CursorWriter
  readonly #deps: BacklogDeps
  readonly #signal: AbortSignal

  constructor(destination: Destination, writer: CursorWriter, deps: BacklogDeps, signal: AbortSignal) {
    this.#destination = destination
    this.#writer = writer
    this.#deps = deps
    this.#signal = signal
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
  async judgeDisabledTime(stream: Stream): Promise<void> {
    const { disabledForMs } = stream
    if (disabledForMs === undefined) return
    const { delivery, id } = this.#destination
    const expired = disabledForMs >= delivery.maxBacklogAgeMs && delivery.onBacklogExpiry === 'skip'
    if (expired) await this.abandon([stream], disabledForMs)
    await this.#writer.retry(() => this.#deps.store.clearDisabledTime(id, stream.logType))
    stream.disabledTimeJudged()
  }

  async #skipToHorizon(stream: Stream): Promise<LoggedRange | undefined> {
    const { reader, horizon } = stream.source
    const from = stream.position
    if (!reader || horizon === undefined || comparePositions(from, horizon) >= 0) return undefined
    const { count, oldest } = await this.#deps.sourceAvailability.retry(
      async () => ({
        count: await reader.count(stream.scopeAfter(from), { after: from, upTo: horizon }),
        oldest: await reader.oldest(),
      }),
      this.#signal,
    )
    const range = { from, to: horizon, count, reason: 'backlog_expired' }
    const gone = stream.deletedUpTo(oldest, horizon)
    const deleted =
      gone === undefined ? [] : [{ from, to: gone, count: undefined, reason: 'deleted_at_source' }]
    const skipped = count > 0 ? [...deleted, range] : deleted
    stream.dropEnds()
    await this.#writer.write(stream, { to: horizon, skipped, deadLetters: [], accepted: 0 }, [])
    stream.rewind()
    return count > 0 ? { ...range, logType: stream.logType } : undefined
  }
}
