/**
 * One log type of a replay: reads its rows as a stream, freezes each batch before its first attempt, settles what was
 * accepted, halves what was refused (halving.ts). A kill at any moment leaves ends that are frozen; the next attempt
 * makes the same batch, under the same id, of the same rows (I4).
 *
 * It sends one batch, or one piece of a refused one, a step. A search for culprits lives over turns, in memory; what
 * of it has to outlive the process is stored with the position.
 */
import type { Outcome } from '../../providers/provider.ts'
import { comparePositions, laterOf, type Position } from '../sources/position.ts'
import type { Batch, DeadLetter } from './batch.ts'
import { learnSize } from './batch-size.ts'
import type { Divided } from './cursor.ts'
import { remaining } from './cursor-writer.ts'
import { type Failure, Halving, searchOptions } from './halving.ts'
import type { Seat } from './lanes.ts'
import type { RangeMove, ReplayRange } from './replay-store.ts'
import { type Settlement, settlementOf } from './settlement.ts'
import type { Stream } from './stream.ts'
import type { StreamSource } from './stream-source.ts'

/** What a batch came to, for the replay's failure record. */
export type Setback = Failure | Extract<Outcome, { kind: 'rejected' }>

/** `next`: there may be more. `end`: everything is settled. */
export type Step = { readonly kind: 'next' | 'end' } | { readonly kind: 'failed'; readonly setback: Setback }

export interface RangeDeps {
  readonly replayId: number
  readonly destinationId: number
  /** A refusal says nothing of the destination: the events were refused before. */
  readonly refusedBefore: boolean
  /** Failures of the replay in a row. */
  failures(): number
  send(batch: Batch): Promise<Outcome>
  /** Milliseconds. */
  monotonic(): number
  move(move: RangeMove): Promise<void>
  onSettled(settled: { accepted: number; deadLetters: readonly DeadLetter[] }): void
}

export class RangeWork {
  readonly #range: ReplayRange
  readonly #stream: Stream<StreamSource>
  readonly #deps: RangeDeps
  #search: Halving | undefined
  /** Batches that were sent, wholly or in pieces, and are not settled. */
  #open: Batch[] = []

  constructor(range: ReplayRange, stream: Stream<StreamSource>, deps: RangeDeps) {
    this.#range = range
    this.#stream = stream
    this.#deps = deps
  }

  /** Before a turn; `leave` after it. */
  enter(): void {
    if (!this.#search) this.#stream.begin()
  }

  /** `failed`: by an error or an answer. What was read is read again. */
  leave(failed: boolean): void {
    if (failed) {
      this.#search = undefined
      this.#open = []
      this.#stream.rewind()
    } else if (!this.#search) this.#stream.rest()
  }

  /** Sends one batch, at most. */
  async step(seat: Seat, signal: AbortSignal): Promise<Step> {
    const piece = this.#search?.next
    if (this.#search && piece) return this.#take(this.#search, await this.#send(piece), seat, signal)
    const [batch] = await this.#stream.next(1, seat, signal)
    if (!batch) return this.#finish()
    await this.#freeze(batch)
    this.#open = [batch]
    const outcome = batch.events.length === 0 ? accepted : await this.#send(batch)
    if (outcome.kind === 'accepted') {
      await this.#move(settlementOf(batch, []), [])
      return { kind: 'next' }
    }
    this.#search = new Halving([batch], {
      ...searchOptions(this.#deps.failures() > 0, this.#deps.failures()),
      divided: this.#stream.divided,
      refusedBefore: this.#deps.refusedBefore,
    })
    return this.#take(this.#search, outcome, seat, signal)
  }

  async #take(search: Halving, outcome: Outcome, seat: Seat, signal: AbortSignal): Promise<Step> {
    const { settlement, failure } = search.take(outcome)
    if (failure) {
      await this.#move(settlement, search.unsettled, search.divided)
      return { kind: 'failed', setback: failure }
    }
    while (search.needsMore) {
      const more = await this.#more(seat, signal)
      this.#open.push(...more)
      search.add(more)
    }
    const wrong = search.verdict
    await this.#move(settlement, wrong ? search.restored : search.unsettled, search.divided)
    if (wrong) return { kind: 'failed', setback: { kind: 'rejected', reason: wrong } }
    if (!search.next) this.#search = undefined
    return { kind: 'next' }
  }

  async #send(batch: Batch): Promise<Outcome> {
    const { size } = this.#stream
    const started = this.#deps.monotonic()
    size.attempted(batch.to)
    const outcome = await this.#deps.send(batch)
    learnSize(size, batch, outcome, this.#deps.monotonic() - started)
    return outcome
  }

  /** An error on the way forgets what was found out: it is found out again. */
  async #more(seat: Seat, signal: AbortSignal): Promise<Batch[]> {
    try {
      return await this.#stream.next(1, seat, signal)
    } catch (error) {
      this.leave(true)
      throw error
    }
  }

  /** What was read and found empty is settled with it. */
  async #freeze(batch: Batch): Promise<void> {
    const { position, emptyTo, frozen } = this.#stream
    if (comparePositions(batch.from, laterOf(position, emptyTo)) > 0) {
      // The last line of defence: what lies between would count as replayed without having been sent.
      throw new Error(`a batch from ${batch.from} cannot follow a replay at ${position}`)
    }
    if (frozen.includes(batch.to) && batch.from === position) return
    const nothing = { to: batch.from, skipped: [], deadLetters: [], accepted: 0 }
    await this.#move(nothing, [batch])
  }

  async #finish(): Promise<Step> {
    const { to } = this.#range
    if (this.#stream.position !== to) await this.#move({ to, skipped: [], deadLetters: [], accepted: 0 }, [])
    return { kind: 'end' }
  }

  async #move(
    settlement: Settlement | undefined,
    unsettled: readonly Batch[],
    divided: Divided | null = this.#stream.divided ?? null,
  ): Promise<void> {
    const { position, frozen: fromFrozen, endsAhead } = this.#stream
    const to = settlement?.to ?? position
    const frozen = [...unsettled.map((batch) => batch.to), ...endsAhead]
    const { deadLetters = [], skipped = [] } = settlement ?? {}
    const sent = this.#acceptedUpTo(to, deadLetters)
    const stillDivided = remaining(divided, to, sent.length)
    await this.#deps.move({
      replayId: this.#deps.replayId,
      destinationId: this.#deps.destinationId,
      logType: this.#range.logType,
      life: this.#range.life,
      from: position,
      fromFrozen,
      to,
      frozen,
      divided: stillDivided,
      accepted: sent,
      deadLetters,
      tooOld: skipped.reduce((sum, { reason, count }) => sum + (isOutOfTime(reason) ? (count ?? 0) : 0), 0),
    })
    this.#stream.settled(to, frozen, stillDivided)
    if (settlement) this.#deps.onSettled({ accepted: sent.length, deadLetters })
  }

  /** Ids of the events between the position and `to` that the destination took. */
  #acceptedUpTo(to: Position, deadLetters: readonly DeadLetter[]): string[] {
    const { position } = this.#stream
    const refused = new Set(
      deadLetters.flatMap(({ code, eventId }) => (code === 'duplicate_id' ? [] : [eventId])),
    )
    return this.#open.flatMap(({ events, positions }) =>
      events.flatMap(({ id }, index) => {
        const at = positions[index] ?? to
        const isSettled = comparePositions(at, position) > 0 && comparePositions(at, to) <= 0
        return isSettled && !refused.has(id) ? [id] : []
      }),
    )
  }
}

const accepted: Outcome = { kind: 'accepted' }

/** The receiver would drop the events without a word. */
function isOutOfTime(reason: string): boolean {
  return reason === 'too_old_for_provider' || reason === 'too_far_ahead_for_provider'
}
