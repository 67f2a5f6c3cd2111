/** Moves the cursors of one destination: every move is one write, tried until the database has taken it. */
import type { Availability } from '../db/availability.ts'
import { LeaseLostError } from '../errors.ts'
import { comparePositions, laterOf, type Position } from '../sources/position.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import type { Batch } from './batch.ts'
import type { Divided } from './cursor.ts'
import { retryHeld } from './lease.ts'
import type { Progress } from './progress.ts'
import type { Reporter } from './reporter.ts'
import type { Settlement } from './settlement.ts'
import type { DeliveryStore } from './store.ts'
import type { Stream } from './stream.ts'

export interface CursorWriterDeps {
  readonly store: DeliveryStore
  readonly availability: Availability
  readonly reporter: Pick<Reporter, 'skipped' | 'deadLettered'>
  readonly progress: Progress
  readonly tracing: Tracing
}

export class CursorWriter {
  readonly #destinationId: number
  readonly #deps: CursorWriterDeps
  readonly #signal: AbortSignal

  /** When `signal` aborts, a write that waits for the database is given up. */
  constructor(destinationId: number, deps: CursorWriterDeps, signal: AbortSignal) {
    this.#destinationId = destinationId
    this.#deps = deps
    this.#signal = signal
  }

  /**
   * Settles what is given and freezes the ends of `unsettled`, the batches beyond it (I4). Ends that are
   * stored beyond those stay: a batch that may have been sent keeps its bounds. `divided`: what of a
   * refused batch is among them. `onDispatched`: what it says will be stored even if this process is killed.
   */
  async write(
    stream: Stream,
    settlement: Settlement | undefined,
    unsettled: readonly Batch[],
    divided: Divided | null = stream.divided ?? null,
    onDispatched?: () => void,
  ): Promise<void> {
    const frozen = [...unsettled.map(({ to }) => to), ...stream.endsAhead]
    const freezes = frozen.some((end) => !stream.frozen.includes(end))
    if (!settlement && !freezes && frozen.length === stream.frozen.length) return
    const next = unsettled[0]
    let to = settlement?.to ?? stream.position
    // What was read and found empty is settled with the freezing of what comes after it.
    if (next && comparePositions(next.from, stream.emptyTo) <= 0) to = laterOf(to, next.from)
    if (next && comparePositions(next.from, to) > 0) {
      // The last line of defence for I1: what lies between would be settled without having been sent.
      throw new Error(`a batch from ${next.from} cannot follow the cursor at ${to}`)
    }
    const accepted = settlement?.accepted ?? 0
    const stillDivided = remaining(divided, to, accepted)
    const move = () =>
      this.#deps.store.move(
        {
          destinationId: this.#destinationId,
          logType: stream.logType,
          life: stream.life,
          from: stream.position,
          fromFrozen: stream.frozen,
          to,
          frozen,
          divided: stillDivided,
          skipped: settlement?.skipped ?? [],
          deadLetters: settlement?.deadLetters ?? [],
          accepted,
          // Skipping and freezing wait for the disk; settling alone may be lost with it and is then repeated.
          durable: freezes || (settlement !== undefined && settlement.accepted === 0),
        },
        onDispatched,
      )
    const attributes = { 'spillway.destination.id': this.#destinationId, 'spillway.log_type': stream.logType }
    await this.#deps.tracing.span('spillway.write_cursor', 'client', attributes, () => this.retry(move))
    stream.settled(to, frozen, stillDivided)
    // Said once it is on record.
    this.#deps.reporter.skipped(stream.logType, settlement?.skipped ?? [])
    this.#deps.reporter.deadLettered(stream.logType, settlement?.deadLetters ?? [])
  }

  /**
   * For other writes about the destination; `work` must bear being run again. Rejects with `LeaseLostError` once the
   * lease is not held any more.
   */
  retry<T>(work: () => Promise<T>): Promise<T> {
    const { availability, progress, store } = this.#deps
    const isForeign = (error: unknown) => this.#signal.aborted || error instanceof LeaseLostError
    const write = () => retryHeld(availability, store.lease, work, this.#signal)
    return progress.track('cursor', write, isForeign)
  }
}

/** What is left of a divided batch when the cursor is at `to`, and `accepted` events were accepted on its way there. */
export function remaining(divided: Divided | null, to: Position, accepted: number): Divided | undefined {
  if (divided === null || comparePositions(divided.to, to) <= 0) return undefined
  return accepted > 0 ? { ...divided, accepted: true } : divided
}
