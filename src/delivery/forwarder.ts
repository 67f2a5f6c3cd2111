/**
 * The loop of one destination: wait until there is something to send and no back-off to sit out, take a
 * seat, drain its streams one after the other, leave.
 *
 * Keeps: I1 and I5 (a cursor moves only together with the records of what was not delivered), I3 and I4
 * (through the store's writes: ends are frozen before the first attempt), I6 (seats), I9 (budget of bytes).
 * A failed batch ends the turn: everything read is forgotten, the frozen ends stay, and the next attempt,
 * also one of another process, makes the same batch from the same rows.
 *
 * `stop` lets what is on its way finish for a grace time, then aborts it; an aborted batch counts as no
 * attempt and stays frozen.
 */
import type { Outcome, Sender } from '../../providers/provider.ts'
import { Bell, type Clock, sleep } from '../clock.ts'
import { type Availability, isCancelled, isTransient } from '../db/availability.ts'
import type { Destination } from '../destinations/destination.ts'
import { LeaseLostError } from '../errors.ts'
import type { Position } from '../sources/position.ts'
import { attempt } from './attempt.ts'
import { Backlog } from './backlog.ts'
import type { Batch } from './batch.ts'
import { CursorWriter } from './cursor-writer.ts'
import { decide, type Effect, type Health } from './decide.ts'
import { Flights, type Landing } from './flights.ts'
import type { Lanes, Seat } from './lanes.ts'
import type { Reporter } from './reporter.ts'
import { type Settlement, settlementOf } from './settlement.ts'
import type { DeliveryStore, IdleMove } from './store.ts'
import type { Stream } from './stream.ts'

export interface ForwarderDeps {
  readonly store: DeliveryStore
  /** Of the database with Spillway's own tables. */
  readonly availability: Availability
  /** Of the database with the audit tables. */
  readonly sourceAvailability: Availability
  readonly lanes: Lanes
  readonly clock: Clock
  readonly reporter: Reporter
  readonly backoffScheduleMs: readonly number[]
  /** In [0, 1). */
  readonly random: () => number
  /** The cursor was moved by somebody else: this forwarder is of no use any more. */
  onLost(): void
}

/** A request that takes longer gives its seat back while it waits. */
const slowAfterMs = 1_000
/** A longer pause between batches is spent without a seat. */
const longestPauseSeatedMs = 500
/** One write to the disk freezes up to this many batches. */
const freezeAhead = 16
/** After an error of the daemon's own making, before it is tried again. */
const pauseAfterErrorMs = 5_000
const pauseWithoutSourceMs = 500

export class Forwarder {
  readonly destination: Destination
  readonly #deps: ForwarderDeps
  readonly #sender: Sender
  readonly #streams: Stream[] = []
  readonly #bell = new Bell()
  /** Aborts when no new batch shall be started. */
  readonly #stopping = new AbortController()
  /** Aborts what is on its way. */
  readonly #aborting = new AbortController()
  /** Batches beyond a failed one that were accepted already (only with `maxInFlight` > 1). */
  readonly #acceptedAhead = new Set<string>()
  readonly #writer: CursorWriter
  readonly #backlog: Backlog
  #health: Health
  #running: Promise<void> | undefined
  #stopped: Promise<void> | undefined
  #notBefore = 0

  constructor(destination: Destination, health: Health, sender: Sender, deps: ForwarderDeps) {
    this.destination = destination
    this.#health = health
    this.#writer = new CursorWriter(destination.id, deps, this.#aborting.signal)
    this.#backlog = new Backlog(destination, this.#writer, deps, this.#aborting.signal)
    this.#sender = sender
    this.#deps = deps
  }

  get streams(): readonly Stream[] {
    return this.#streams
  }

  /** How far its cursors can go without an event. */
  get idleMoves(): IdleMove[] {
    const isStopped = this.#stopped !== undefined
    const destinationId = this.destination.id
    return this.#streams
      .flatMap((stream) => stream.idleMove(isStopped) ?? [])
      .map((move) => ({ ...move, destinationId }))
  }

  get failing(): boolean {
    return this.#health.firstFailedAt !== undefined
  }

  open(stream: Stream): void {
    this.#streams.push(stream)
    this.#bell.ring()
  }

  /** `first`: the first of the rows that have come, if it is known which. */
  wake(logType: string, first?: Position): void {
    for (const stream of this.#streams) {
      if (stream.logType === logType) stream.wake(first)
    }
    this.#bell.ring()
  }

  /** The rows beyond the cursor may be others than they were. */
  reread(logType: string): void {
    for (const stream of this.#streams) {
      if (stream.logType === logType) stream.reread()
    }
    this.#bell.ring()
  }

  /** Something it may have waited for has changed. */
  look(): void {
    this.#bell.ring()
  }

  wakeAll(): void {
    for (const stream of this.#streams) stream.wake()
    this.#bell.ring()
  }

  start(): void {
    this.#running ??= this.#run()
  }

  stop(graceMs: number): Promise<void> {
    this.#stopped ??= this.#stop(graceMs)
    return this.#stopped
  }

  async #stop(graceMs: number): Promise<void> {
    this.#stopping.abort()
    this.#bell.ring()
    const timer = setTimeout(() => this.#aborting.abort(), graceMs)
    await this.#running
    clearTimeout(timer)
    this.#deps.reporter.summarise()
    await this.#sender.close()
  }

  async #run(): Promise<void> {
    const stopping = this.#stopping.signal
    while (!stopping.aborted) {
      await this.#due()
      if (stopping.aborted) return
      try {
        await this.#turn()
      } catch (error) {
        if (stopping.aborted) return
        if (error instanceof LeaseLostError) return this.#deps.onLost()
        await this.#pauseAfter(error)
      }
    }
  }

  async #pauseAfter(error: unknown): Promise<void> {
    if (isTransient(error)) {
      // One page, not the database: the next one is smaller.
      if (isCancelled(error)) this.#deps.reporter.cancelled(error)
      else this.#deps.sourceAvailability.reportDown(error)
      await sleep(pauseWithoutSourceMs, this.#stopping.signal)
    } else {
      this.#deps.reporter.erred(error)
      await sleep(pauseAfterErrorMs, this.#stopping.signal)
    }
  }

  /** Until a stream has something to send and no back-off stands in the way. */
  async #due(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const { clock } = this.#deps
      const backOffMs = (this.#health.nextAttemptAt ?? 0) - clock.now()
      const waitMs = Math.max(backOffMs, this.#notBefore - clock.monotonic())
      const awake = this.#nextStream() !== undefined
      if (awake && waitMs <= 0) return
      await this.#bell.wait(awake ? waitMs : undefined)
    }
  }

  #nextStream(): Stream | undefined {
    return this.#streams.find(
      ({ awake, disabledForMs, source }) =>
        source.horizon !== undefined && source.reader !== undefined && (awake || disabledForMs !== undefined),
    )
  }

  async #turn(): Promise<void> {
    const seat = await this.#deps.lanes.enter(this.failing ? 'failing' : 'healthy', this.#stopping.signal)
    try {
      const stream = this.#nextStream()
      if (!stream) return
      await this.#backlog.judgeDisabledTime(stream)
      // To the back: each log type gets its turn.
      this.#streams.push(...this.#streams.splice(this.#streams.indexOf(stream), 1))
      await this.#drain(stream, seat)
    } finally {
      seat.leave()
    }
  }

  async #drain(stream: Stream, seat: Seat): Promise<void> {
    let finished = false
    stream.begin()
    try {
      finished = await this.#sendRounds(stream, seat)
    } finally {
      // Batches that were handed out and not settled are read again, or their rows would be passed over (I1).
      if (finished) stream.rest()
      else stream.rewind()
    }
  }

  /**
   * Sends round after round until there is nothing more, a batch fails, others wait, or it shall stop. True
   * when everything that was handed out is settled.
   */
  async #sendRounds(stream: Stream, seat: Seat): Promise<boolean> {
    const { maxCatchupBatches } = this.destination.delivery
    let sent = 0
    let accepted: Settlement | undefined
    try {
      while (!this.#stopping.signal.aborted) {
        if (sent >= maxCatchupBatches) {
          if (this.#othersWait(stream, seat)) break
          sent = 0
        }
        const ahead = Math.min(freezeAhead, maxCatchupBatches - sent)
        const round = await stream.next(ahead, seat, this.#aborting.signal)
        await this.#writer.write(stream, accepted, round)
        accepted = undefined
        if (round.length === 0) break
        sent += round.length
        accepted = await this.#sendRound(stream, round, seat)
        if (!accepted) return false
      }
      return true
    } finally {
      if (accepted) await this.#writer.write(stream, accepted, [])
    }
  }

  /**
   * Sends frozen batches, `maxInFlight` at once, and settles them in order. The last one's settlement is
   * returned for the write that freezes the next round; undefined when the round was not completed.
   */
  async #sendRound(stream: Stream, round: readonly Batch[], seat: Seat): Promise<Settlement | undefined> {
    const flights = new Flights({
      round,
      maxInFlight: this.destination.delivery.maxInFlight,
      launch: (batch) => this.#launch(batch, seat),
      clearance: () => this.#clearance(),
    })
    for (const [index, batch] of round.entries()) {
      const landing = await flights.landing(index)
      // It shall stop; the batch stays frozen.
      if (!landing) return undefined
      if ('error' in landing) {
        await flights.acceptedAfter(index)
        throw landing.error
      }
      const others = round.slice(index + 1)
      const { settlement, failure } = this.#land(batch, landing)
      if (failure) {
        if (settlement) await this.#writer.write(stream, settlement, [batch, ...others])
        // Batches beyond the failed one that were accepted are not sent again when their turn comes.
        for (const { id } of await flights.acceptedAfter(index)) this.#acceptedAhead.add(id)
        await this.#fail(batch, failure)
        return undefined
      }
      if (others.length === 0) return settlement
      await this.#writer.write(stream, settlement, others)
    }
    return undefined
  }

  /** Decides what follows from an answer: what is settled, and the failure's effects if it is one. */
  #land(
    batch: Batch,
    { outcome, durationMs }: Extract<Landing, { outcome: Outcome }>,
  ): { settlement: Settlement | undefined; failure: readonly Effect[] | undefined } {
    const { clock, reporter, backoffScheduleMs, random } = this.#deps
    const { delivery } = this.destination
    if (batch.events.length === 0) {
      // Nothing was sent, so nothing is known of the destination's health.
      return { settlement: settlementOf(batch, 0, []), failure: undefined }
    }
    const policy = { ...delivery, scheduleMs: backoffScheduleMs }
    this.#notBefore = clock.monotonic() + delivery.interBatchDelayMs
    const decision = decide(this.#health, outcome, batch.events.length, policy, clock.now(), random())
    this.#health = decision.health
    let settlement: Settlement | undefined
    for (const effect of decision.effects) {
      if (effect.kind === 'settle') {
        settlement = settlementOf(batch, effect.count, effect.refused)
        if (settlement.accepted > 0) reporter.delivered(batch, settlement, durationMs)
      } else if (effect.kind === 'recovered') {
        reporter.recovered(effect.failures, effect.failingForMs)
      }
    }
    const failed = decision.effects.some(({ kind }) => kind === 'failed')
    return { settlement, failure: failed ? decision.effects : undefined }
  }

  async #fail(batch: Batch, effects: readonly Effect[]): Promise<void> {
    const { reporter } = this.#deps
    let error = ''
    for (const effect of effects) {
      switch (effect.kind) {
        case 'failed':
          error = `${effect.outcome}: ${effect.reason.message}`
          reporter.failed(batch, effect.outcome, effect.reason, this.#health)
          break
        case 'abandon':
          await this.#backlog.abandon(this.#streams, effect.failingForMs)
          this.#acceptedAhead.clear()
          break
        case 'hold':
          reporter.held(effect.failingForMs)
          break
        case 'back_off':
          await this.#saveFailure(error)
          reporter.backingOff(this.#health, effect.nextAttemptAt, effect.delayMs)
          break
        case 'disable':
          await this.#writer.retry(() =>
            this.#deps.store.disable(this.destination.id, this.destination.revision, error),
          )
          // The registry sees the disabled row and ends this forwarder.
          this.#stopping.abort()
          break
        case 'settle':
        case 'recovered':
          break
        default:
          effect satisfies never
      }
    }
  }

  #saveFailure(error: string): Promise<void> {
    const { id, revision } = this.destination
    return this.#writer.retry(() => this.#deps.store.saveFailure(id, revision, this.#health, error))
  }

  #othersWait(stream: Stream, seat: Seat): boolean {
    return seat.contended || this.#streams.some((other) => other !== stream && other.awake)
  }

  /**
   * Keeps the pause between two batches, over turns too. False when it shall stop, and when the pause is so
   * long that others could use the seat: the turn ends, and the next one begins after the pause.
   */
  async #clearance(): Promise<boolean> {
    const waitMs = this.#notBefore - this.#deps.clock.monotonic()
    if (waitMs > longestPauseSeatedMs) return false
    if (waitMs > 0) await sleep(waitMs, this.#stopping.signal)
    return !this.#stopping.signal.aborted
  }

  async #launch(batch: Batch, seat: Seat): Promise<Landing> {
    // Nothing in it can be sent, or it was accepted before: it only has to be settled.
    if (batch.events.length === 0 || this.#acceptedAhead.delete(batch.id)) {
      return { outcome: { kind: 'accepted' }, durationMs: 0 }
    }
    const started = this.#deps.clock.monotonic()
    const slow = setTimeout(() => seat.stepAside(), slowAfterMs)
    try {
      const outcome = await attempt(
        this.#sender,
        batch,
        { quickRetries: !this.failing },
        this.#aborting.signal,
      )
      return { outcome, durationMs: this.#deps.clock.monotonic() - started }
    } catch (error) {
      return { error }
    } finally {
      clearTimeout(slow)
    }
  }
}
