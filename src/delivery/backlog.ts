/**
 * Giving up a backlog, on the record (I1, I5): the cursors go to the horizon, and each range that is left
 * out is written down with its exact count, in the write that moves the cursor.
 */
import type { Availability } from '../db/availability.ts'
import type { Destination } from '../destinations/destination.ts'
import { comparePositions, laterOf, type Position } from '../sources/position.ts'
import type { Range } from '../sources/selection.ts'
import type { Batch, SkippedRange } from './batch.ts'
import type { CursorWriter } from './cursor-writer.ts'
import type { LoggedRange, Reporter } from './reporter.ts'
import type { DeliveryStore } from './store.ts'
import type { Stream } from './stream.ts'

/** The bounds of a batch that was accepted beyond one that was not: it is on no record, and must not count as skipped. */
export type DeliveredAhead = Pick<Batch, 'logType' | 'from' | 'to'>

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

  /** Only while no batch of the streams is on its way. `delivered`: batches beyond the cursors that were accepted. */
  async abandon(
    streams: readonly Stream[],
    failingForMs: number,
    delivered: readonly DeliveredAhead[] = [],
  ): Promise<void> {
    const ranges: LoggedRange[] = []
    for (const stream of streams) {
      const { logType } = stream
      const own = delivered.filter((each) => each.logType === logType)
      ranges.push(...(await this.#skipToHorizon(stream, own)))
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

  async #skipToHorizon(stream: Stream, delivered: readonly DeliveredAhead[]): Promise<LoggedRange[]> {
    const { reader, horizon } = stream.source
    const from = stream.position
    if (!reader || horizon === undefined || comparePositions(from, horizon) >= 0) return []
    const ranges: SkippedRange[] = []
    for (const { after, upTo } of between(from, horizon, delivered)) {
      const count = await this.#deps.sourceAvailability.retry(
        () => reader.count(stream.scopeAfter(after), { after, upTo }),
        this.#signal,
      )
      if (count > 0) ranges.push({ from: after, to: upTo, count, reason: 'backlog_expired' })
    }
    const oldest = await this.#deps.sourceAvailability.retry(() => reader.oldest(), this.#signal)
    const gone = stream.deletedUpTo(oldest, horizon)
    const deleted =
      gone === undefined ? [] : [{ from, to: gone, count: undefined, reason: 'deleted_at_source' }]
    const skipped = [...deleted, ...ranges]
    stream.dropEnds()
    await this.#writer.write(stream, { to: horizon, skipped, deadLetters: [], accepted: 0 }, [])
    stream.rewind()
    return ranges.map((range) => ({ ...range, logType: stream.logType }))
  }
}

/** What of a range lies between the batches that were delivered. */
function between(from: Position, to: Position, delivered: readonly DeliveredAhead[]): Range[] {
  const gaps: Range[] = []
  let after = from
  for (const batch of delivered.toSorted((a, b) => comparePositions(a.from, b.from))) {
    if (comparePositions(batch.from, after) > 0) gaps.push({ after, upTo: batch.from })
    after = laterOf(after, batch.to)
  }
  if (comparePositions(after, to) < 0) gaps.push({ after, upTo: to })
  return gaps
}
