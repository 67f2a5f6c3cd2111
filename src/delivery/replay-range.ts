/**
 * One log type of a replay: reads its rows as a stream, freezes each batch before its first attempt, settles what was
 * accepted, divides what was refused. A kill at any moment leaves ends that are frozen; the next attempt makes the
 * same batch, under the same id, of the same rows (I4).
 *
 * A refused batch of several events is divided in halves until the culprits are alone. Its parts are frozen ends like
 * others. Whether the events are at fault or the destination shows when a part is accepted: until then nothing of the
 * batch is settled, and refusals are kept in memory. If no part is, it fails as a whole. Dead letters were refused
 * before: a refusal settles them at once.
 */
import type { Outcome, Reason } from '../../providers/provider.ts'
import { comparePositions, laterOf, type Position } from '../sources/position.ts'
import type { Batch, DeadLetter } from './batch.ts'
import type { Seat } from './lanes.ts'
import type { RangeMove, ReplayRange } from './replay-store.ts'
import { settlementOf } from './settlement.ts'
import type { Stream, StreamSource } from './stream.ts'

/** A batch that was not settled whole: what it came to, for the destination's failure record. */
export type Setback = Exclude<Outcome, { kind: 'accepted' | 'partial' }>

/** `next`: there may be more. `end`: everything is settled. */
export type Step = { readonly kind: 'next' | 'end' } | { readonly kind: 'failed'; readonly setback: Setback }

export interface RangeDeps {
  readonly replayId: number
  readonly destinationId: number
  /** A refusal says nothing of the destination: the events were refused before. */
  readonly refusedBefore: boolean
  send(batch: Batch): Promise<Outcome>
  move(move: RangeMove): Promise<void>
  onSettled(settled: { accepted: number; deadLetters: readonly DeadLetter[] }): void
}

interface Settled {
  readonly to: Position
  readonly accepted: readonly string[]
  readonly deadLetters: readonly DeadLetter[]
  readonly tooOld: number
}

export class RangeWork {
  readonly #range: ReplayRange
  readonly #stream: Stream<StreamSource>
  readonly #deps: RangeDeps
  #dividingTo: Position | null
  #dividingAccepted: boolean
  /** Of the batch that is being divided, refusals by batch id: not sent again when their rows are read again. */
  readonly #refused = new Map<string, Reason>()
  /** What is known of its parts while none was accepted, in order. */
  #open: Settled[] = []

  constructor(range: ReplayRange, stream: Stream<StreamSource>, deps: RangeDeps) {
    this.#range = range
    this.#stream = stream
    this.#deps = deps
    this.#dividingTo = range.dividingTo
    this.#dividingAccepted = range.dividingAccepted
  }

  /** Before a turn; `leave` after it, whatever happened. */
  enter(): void {
    this.#stream.begin()
  }

  leave(settled: boolean): void {
    if (settled && this.#open.length === 0) this.#stream.rest()
    else this.#rewind()
  }

  /** Sends one batch, at most. */
  async step(seat: Seat, signal: AbortSignal): Promise<Step> {
    const [batch] = await this.#stream.next(1, seat, signal)
    if (!batch) return this.#finish()
    await this.#freeze(batch)
    const outcome = await this.#outcomeOf(batch)
    return this.#handle(batch, outcome)
  }

  async #outcomeOf(batch: Batch): Promise<Outcome> {
    if (batch.events.length === 0) return { kind: 'accepted' }
    const reason = this.#refused.get(batch.id)
    return reason
      ? { kind: 'rejected', reason }
      : wholeOutcome(await this.#deps.send(batch), batch.events.length)
  }

  async #handle(batch: Batch, outcome: Outcome): Promise<Step> {
    switch (outcome.kind) {
      case 'accepted':
        return this.#settle(settledOf(batch, batch.events.length, []), batch.events.length > 0)
      case 'partial': {
        const stop = outcome.refused.find(({ outcome }) => outcome.kind !== 'rejected')
        const count = stop?.index ?? batch.events.length
        const refused = outcome.refused.flatMap(({ index, outcome }) =>
          outcome.kind === 'rejected' && index < count ? [{ index, reason: outcome.reason }] : [],
        )
        if (count > refused.length) {
          const step = await this.#settle(settledOf(batch, count, refused), true)
          return stop ? { kind: 'failed', setback: stop.outcome } : step
        }
        // Nothing was accepted before it stopped.
        return stop ? { kind: 'failed', setback: stop.outcome } : { kind: 'next' }
      }
      case 'rejected':
        return this.#reject(batch, outcome)
      case 'retry':
      case 'unauthorized':
      case 'gone':
        return { kind: 'failed', setback: outcome }
      default:
        return outcome satisfies never
    }
  }

  async #reject(batch: Batch, outcome: Extract<Outcome, { kind: 'rejected' }>): Promise<Step> {
    if (batch.events.length > 1) {
      await this.#divide(batch)
      return { kind: 'next' }
    }
    if (this.#dividingTo === null && !this.#deps.refusedBefore) return { kind: 'failed', setback: outcome }
    this.#refused.set(batch.id, outcome.reason)
    return this.#settle(settledOf(batch, 1, [{ index: 0, reason: outcome.reason }]), false)
  }

  /** `isAccepted`: the destination took something. */
  async #settle(settled: Settled, isAccepted: boolean): Promise<Step> {
    this.#open.push(settled)
    if (this.#dividingTo !== null && isAccepted) this.#dividingAccepted = true
    const ended = this.#dividingTo === null || comparePositions(settled.to, this.#dividingTo) >= 0
    if (this.#dividingTo !== null && !this.#dividingAccepted && !this.#deps.refusedBefore) {
      if (!ended) return { kind: 'next' }
      const [reason] = [...this.#refused.values()].slice(-1)
      if (reason) return this.#giveUp(this.#dividingTo, reason)
    }
    if (ended) this.#endDividing()
    const all = this.#open
    this.#open = []
    await this.#move(settled.to, beyond(settled.to, this.#stream.frozen), {
      accepted: all.flatMap(({ accepted }) => accepted),
      deadLetters: all.flatMap(({ deadLetters }) => deadLetters),
      tooOld: all.reduce((sum, { tooOld }) => sum + tooOld, 0),
    })
    return { kind: 'next' }
  }

  /** No part of the batch was accepted: it is the destination that is wrong. The batch is whole again. */
  async #giveUp(end: Position, reason: Reason): Promise<Step> {
    const { position, frozen } = this.#stream
    this.#endDividing()
    this.#open = []
    await this.#move(position, [end, ...beyond(end, frozen)])
    this.#stream.rewind()
    return { kind: 'failed', setback: { kind: 'rejected', reason } }
  }

  async #divide(batch: Batch): Promise<void> {
    const middle = batch.positions[Math.ceil(batch.events.length / 2) - 1] ?? batch.to
    this.#dividingTo ??= batch.to
    const { frozen, position } = this.#stream
    const before = frozen.filter((end) => comparePositions(end, batch.from) <= 0)
    await this.#move(position, [...before, middle, ...beyond(middle, frozen)])
    this.#rewind()
  }

  #endDividing(): void {
    this.#dividingTo = null
    this.#dividingAccepted = false
    this.#refused.clear()
  }

  /** What was read and found empty is settled with it. */
  async #freeze(batch: Batch): Promise<void> {
    const { position, emptyTo, frozen, endsAhead } = this.#stream
    const isFrozen = frozen.includes(batch.to)
    const isNext = this.#open.length === 0
    if (isNext && comparePositions(batch.from, laterOf(position, emptyTo)) > 0) {
      // The last line of defence: what lies between would count as replayed without having been sent.
      throw new Error(`a batch from ${batch.from} cannot follow a replay at ${position}`)
    }
    if (isFrozen && (!isNext || batch.from === position)) return
    const before = frozen.filter((end) => !isNext && comparePositions(end, batch.from) <= 0)
    await this.#move(isNext ? batch.from : position, [...before, batch.to, ...endsAhead])
  }

  async #finish(): Promise<Step> {
    const { to } = this.#range
    if (this.#stream.position === to && this.#open.length === 0) return { kind: 'end' }
    const step = await this.#settle({ to, accepted: [], deadLetters: [], tooOld: 0 }, false)
    return step.kind === 'next' ? { kind: 'end' } : step
  }

  #rewind(): void {
    this.#open = []
    this.#stream.rewind()
  }

  async #move(to: Position, frozen: readonly Position[], settled?: Omit<Settled, 'to'>): Promise<void> {
    const { position, frozen: fromFrozen } = this.#stream
    const { accepted = [], deadLetters = [], tooOld = 0 } = settled ?? {}
    await this.#deps.move({
      replayId: this.#deps.replayId,
      destinationId: this.#deps.destinationId,
      logType: this.#range.logType,
      life: this.#range.life,
      from: position,
      fromFrozen,
      to,
      frozen,
      dividingTo: this.#dividingTo,
      dividingAccepted: this.#dividingAccepted,
      accepted,
      deadLetters,
      tooOld,
    })
    this.#stream.settled(to, frozen)
    if (settled) this.#deps.onSettled({ accepted: accepted.length, deadLetters })
  }
}

function beyond(position: Position, ends: readonly Position[]): Position[] {
  return ends.filter((end) => comparePositions(end, position) > 0)
}

function settledOf(batch: Batch, count: number, refused: Parameters<typeof settlementOf>[2]): Settled {
  const { to, skipped, deadLetters } = settlementOf(batch, count, refused)
  const isRefused = new Set(refused.map(({ index }) => index))
  const accepted = batch.events.slice(0, count).filter((_, index) => !isRefused.has(index))
  return {
    to,
    accepted: accepted.map(({ id }) => id),
    deadLetters,
    tooOld: skipped.reduce(
      (sum, { reason, count }) => sum + (reason === 'too_old_for_provider' ? (count ?? 0) : 0),
      0,
    ),
  }
}

/** A bulk answer in which every event is refused for good is a refusal of the batch. */
function wholeOutcome(outcome: Outcome, events: number): Outcome {
  if (outcome.kind !== 'partial' || outcome.refused.length < events) return outcome
  const [first] = outcome.refused
  const isRejected = outcome.refused.every(({ outcome }) => outcome.kind === 'rejected')
  return first && isRejected ? first.outcome : outcome
}
