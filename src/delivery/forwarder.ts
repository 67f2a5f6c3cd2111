/**
 * The loop of one destination: wait until there is something to send and no back-off to sit out, take a
 * seat, drain its streams one after the other, leave.
 *
 * Keeps I6 (seats) and I9 (budget of bytes); what is sent and settled is the `Drain`'s. After a failure everything that
 * was read is forgotten, and read again for the next attempt.
 *
 * `stop` lets what is on its way finish for a grace time, then aborts it.
 */
import type { Sender } from '../../providers/provider.ts'
import { Bell, type Clock, sleep } from '../clock.ts'
import { type Availability, isCancelled, isTransient } from '../db/availability.ts'
import type { Destination } from '../destinations/destination.ts'
import { LeaseLostError } from '../errors.ts'
import type { Position } from '../sources/position.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import { Backlog } from './backlog.ts'
import { Condition } from './condition.ts'
import { CursorWriter } from './cursor-writer.ts'
import type { Health } from './decide.ts'
import { Drain } from './drain.ts'
import type { IdleMove } from './fleet-store.ts'
import type { Pace } from './hand-over.ts'
import type { Lanes, Seat } from './lanes.ts'
import type { Progress } from './progress.ts'
import type { RateLimit } from './rate-limit.ts'
import type { Reporter } from './reporter.ts'
import type { DeliveryStore } from './store.ts'
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
  readonly rate: RateLimit
  readonly progress: Progress
  readonly tracing: Tracing
  readonly backoffScheduleMs: readonly number[]
  /** In [0, 1). */
  readonly random: () => number
  /** The destination had no cursor yet when this forwarder was made. */
  readonly isNew: boolean
  /** The cursor was moved by somebody else: `forwarder`, which is this one, is of no use any more. */
  onLost(forwarder: Forwarder): void
}

/** After an error of the daemon's own making, before it is tried again. */
const pauseAfterErrorMs = 5_000
const pauseWithoutSourceMs = 500

export class Forwarder {
  readonly destination: Destination
  readonly #deps: ForwarderDeps
  readonly #sender: Sender
  readonly #streams: Stream[] = []
  readonly #bell = new Bell()
  readonly #stopping = new AbortController()
  /** Aborts what is on its way. */
  readonly #aborting = new AbortController()
  readonly #backlog: Backlog
  readonly #condition: Condition
  readonly #drain: Drain
  readonly #graceTimers: NodeJS.Timeout[] = []
  #running: Promise<void> | undefined
  #stopped: Promise<void> | undefined

  constructor(destination: Destination, health: Health, sender: Sender, deps: ForwarderDeps) {
    this.destination = destination
    this.#sender = sender
    this.#deps = deps
    const aborting = this.#aborting.signal
    const stopping = this.#stopping.signal
    const writer = new CursorWriter(destination.id, deps, aborting)
    this.#backlog = new Backlog(destination, writer, deps, aborting)
    const { store, clock, reporter, rate, tracing, backoffScheduleMs, random } = deps
    // One object for both, with nothing else in it: there are as many as destinations.
    const shared = {
      store,
      clock,
      reporter,
      rate,
      tracing,
      backoffScheduleMs,
      random,
      writer,
      backlog: this.#backlog,
      sender,
      stopping,
      aborting,
      streams: () => this.#streams,
      // The registry sees the disabled row and ends this forwarder.
      onDisabled: () => this.#stopping.abort(),
    }
    this.#condition = new Condition(destination, health, shared)
    this.#drain = new Drain(destination, this.#condition, shared)
  }

  get rate(): RateLimit {
    return this.#deps.rate
  }

  /** Aborts when no new batch shall be started. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  get isNew(): boolean {
    return this.#deps.isNew
  }

  /** Writes under the lease that it delivers under. */
  get store(): DeliveryStore {
    return this.#deps.store
  }

  get pace(): Pace {
    const { isSending, answerMs } = this.#drain
    return { failing: this.failing, isSending, answerMs }
  }

  get streams(): readonly Stream[] {
    return this.#streams
  }

  /** How far its cursors can go without an event. */
  get idleMoves(): IdleMove[] {
    const isStopped = this.#stopped !== undefined
    const destinationId = this.destination.id
    const { lease } = this.store
    return this.#streams
      .flatMap((stream) => stream.idleMove(isStopped) ?? [])
      .map((move) => ({ ...move, lease, destinationId }))
  }

  get failing(): boolean {
    return this.#condition.failing
  }

  get status(): Health['status'] {
    return this.#condition.status
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

  /** What is on its way has `graceMs` to arrive, also when it was given more before. */
  stop(graceMs: number): Promise<void> {
    this.#stopped ??= this.#stop()
    if (graceMs <= 0) this.#aborting.abort()
    else this.#graceTimers.push(setTimeout(() => this.#aborting.abort(), graceMs).unref())
    return this.#stopped
  }

  async #stop(): Promise<void> {
    this.#stopping.abort()
    this.#bell.ring()
    await this.#running
    for (const timer of this.#graceTimers) clearTimeout(timer)
    this.#deps.reporter.summarise()
    await this.#sender.close()
  }

  async #run(): Promise<void> {
    const stopping = this.#stopping.signal
    while (!stopping.aborted) {
      const isDue = this.#nextStream() !== undefined && this.#waitMs <= 0
      if (!isDue) {
        // Here, and in nothing that it calls: what a wait holds is held by every destination that has nothing to do.
        await this.#bell.wait(this.#longestWaitMs)
        this.#condition.notice()
        continue
      }
      try {
        await this.#turn()
      } catch (error) {
        if (stopping.aborted) return
        if (error instanceof LeaseLostError) return this.#deps.onLost(this)
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

  /** Until a back-off, the pause between batches and the rate allow a turn; 0 and less when they do. */
  get #waitMs(): number {
    return Math.max(this.#condition.backOffMs, this.#drain.waitMs)
  }

  /** Until there is something to do if nothing rings; undefined: nothing. */
  get #longestWaitMs(): number | undefined {
    const isAwake = this.#nextStream() !== undefined
    return earlier(isAwake ? this.#waitMs : undefined, this.#condition.nextNoticeMs)
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
      await this.#drainStream(stream, seat)
    } finally {
      seat.leave()
    }
  }

  async #drainStream(stream: Stream, seat: Seat): Promise<void> {
    let finished = false
    stream.begin()
    try {
      finished = await this.#drain.run(stream, seat)
    } finally {
      // Batches that were handed out and not settled are read again, or their rows would be passed over (I1).
      if (finished) stream.rest()
      else stream.rewind()
    }
  }
}

function earlier(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.min(one, other)
}
