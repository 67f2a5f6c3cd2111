/**
 * Sends what a stream has: freeze, send, settle. What comes next is read and frozen beside the requests (supply.ts).
 *
 * Keeps: I1 and I5 (a cursor moves only together with the records of what was not delivered), I4 (ends are frozen
 * before the first attempt, those of halves too). A failure ends the drain; what is frozen stays, and the next
 * attempt, also one of another process, makes the same batches from the same rows. An aborted batch counts as no attempt.
 */
import type { Outcome, Sender } from '../../providers/provider.ts'
import { type Clock, sleep } from '../clock.ts'
import type { Destination } from '../destinations/destination.ts'
import type { Position } from '../sources/position.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import { attemptBatch } from './attempt-batch.ts'
import type { DeliveredAhead } from './backlog.ts'
import type { Batch } from './batch.ts'
import { learnSize } from './batch-size.ts'
import type { Condition } from './condition.ts'
import type { CursorWriter } from './cursor-writer.ts'
import { Flights, type Landing } from './flights.ts'
import { Halving, searchOptions } from './halving.ts'
import type { Seat } from './lanes.ts'
import type { RateLimit } from './rate-limit.ts'
import type { Reporter } from './reporter.ts'
import { type Settlement, settlementOf } from './settlement.ts'
import type { Stream } from './stream.ts'
import { freezeAhead, Supply } from './supply.ts'

export interface DrainDeps {
  readonly clock: Clock
  readonly sender: Sender
  readonly writer: CursorWriter
  readonly reporter: Reporter
  readonly rate: RateLimit
  readonly tracing: Tracing
  /** Aborts when no new batch shall be started. */
  readonly stopping: AbortSignal
  /** Aborts what is on its way. */
  readonly aborting: AbortSignal
  /** Of the destination: a backlog is given up as a whole. */
  streams(): readonly Stream[]
}

/** A request that takes longer gives its seat back while it waits. */
const slowAfterMs = 1_000
/** A longer pause between batches is spent without a seat. */
const longestPauseSeatedMs = 500

type Landed = Extract<Landing, { outcome: Outcome }>

export class Drain {
  readonly #destination: Destination
  readonly #condition: Condition
  readonly #deps: DrainDeps
  // Each only where there is something to keep: nearly all destinations have nothing, and there are thousands.
  /** Batches beyond a failed one that were accepted already. */
  #acceptedAhead: Map<string, DeliveredAhead> | undefined
  /** By log type, the end of a batch of which every event was refused when it was last tried. */
  #whollyRefused: Map<string, Position> | undefined
  /** When the requests under way were begun. */
  readonly #begun: { readonly at: number }[] = []
  #lastAnswerMs = 0
  #notBefore = 0

  constructor(destination: Destination, condition: Condition, deps: DrainDeps) {
    this.#destination = destination
    this.#condition = condition
    this.#deps = deps
  }

  /** Until the next batch may go out: the pause between batches, and the destination's rate. */
  get waitMs(): number {
    return Math.max(this.#notBefore - this.#deps.clock.monotonic(), this.#deps.rate.waitMs)
  }

  get isSending(): boolean {
    return this.#begun.length > 0
  }

  /** For how long the oldest request has been under way, or how long the last one took, in milliseconds. */
  get answerMs(): number {
    const now = this.#deps.clock.monotonic()
    return Math.max(this.#lastAnswerMs, ...this.#begun.map(({ at }) => now - at))
  }

  /**
   * Until there is nothing more, a batch fails, others wait, or it shall stop. True when everything that was handed
   * out is settled.
   */
  async run(stream: Stream, seat: Seat): Promise<boolean> {
    const { writer, stopping, aborting } = this.#deps
    const { maxCatchupBatches, maxInFlight } = this.#destination.delivery
    const supply = new Supply({ stream, seat, writer, aborting })
    const flights = new Flights({
      maxInFlight,
      launch: (batch) => this.#launch(stream, batch, seat),
      clearance: () => this.#clearance(),
    })
    let sent = 0
    try {
      while (!stopping.aborted || flights.size > 0) {
        const othersWait = this.#othersWait(stream, seat)
        if (sent >= maxCatchupBatches && flights.size === 0) {
          if (othersWait) break
          sent = 0
        }
        const left = Math.max(0, maxCatchupBatches - sent)
        if (!(await supply.fill(left))) break
        const { ready } = supply
        const [batch] = ready
        const landing = await flights.landing(
          othersWait ? ready.slice(0, Math.max(left, flights.size)) : ready,
        )
        // It shall stop; the batch stays frozen.
        if (!batch || !landing) break
        if ('error' in landing) {
          await flights.accepted()
          throw landing.error
        }
        if (landing.outcome.kind === 'accepted') {
          sent += 1
          const settled = supply.settle(this.#accept(batch, landing))
          if (!seat.modest) supply.refill(othersWait ? left - 1 - supply.size : freezeAhead, maxInFlight)
          await settled
          continue
        }
        const ahead = await flights.accepted()
        this.#keepAhead(ahead.map(({ batch }) => batch))
        const witnesses = new Set(ahead.filter(({ isOld }) => !isOld).map(({ batch }) => batch.id))
        const open = await supply.handOver()
        const settlement = await this.#search(stream, open, landing, witnesses, seat)
        if (!settlement) return false
        sent += open.length
        supply.resume(settlement)
      }
      return supply.size === 0
    } finally {
      await supply.close()
    }
  }

  #accept(batch: Batch, { durationMs }: Landed): Settlement {
    const settlement = settlementOf(batch, [])
    // Where nothing was sent, nothing is known of the destination's health.
    if (batch.events.length > 0) this.#noteAccepted(batch, settlement, durationMs)
    return settlement
  }

  #noteAccepted(batch: Batch, settlement: Settlement, durationMs: number): void {
    this.#deps.reporter.delivered(batch, settlement, durationMs)
    this.#condition.accepted()
  }

  /**
   * Goes on where the first batch was not simply accepted: piece by piece, until all are settled, or it turns out that
   * the destination is at fault. `witnesses`: ids of those that were accepted at the same time as the first was not.
   */
  async #search(
    stream: Stream,
    batches: readonly Batch[],
    first: Landed,
    witnesses: ReadonlySet<string>,
    seat: Seat,
  ): Promise<Settlement | undefined> {
    const condition = this.#condition
    const { rate, writer, stopping, aborting } = this.#deps
    // By its end and not by its id: what is sent may hold the time of sending.
    const isAgain = batches[0]?.to === this.#whollyRefused?.get(stream.logType)
    const options = searchOptions(isAgain, condition.consecutiveFailures)
    const halving = new Halving(batches, {
      ...options,
      looksBeyond: options.looksBeyond || witnesses.size > 0,
      divided: stream.divided,
    })
    let landing: Landing = first
    let sent = batches[0]
    while (sent) {
      if ('error' in landing) throw landing.error
      const isOld = landing.isOld === true && !witnesses.has(sent.id)
      const { settlement, failure } = halving.take(landing.outcome, isOld)
      if (settlement && settlement.accepted > 0) this.#noteAccepted(sent, settlement, landing.durationMs)
      if (failure) {
        this.#keepAhead(halving.acceptedAhead)
        await writer.write(stream, settlement, halving.unsettled, halving.divided)
        await this.#fail(sent, failure)
        return undefined
      }
      while (halving.needsMore) halving.add(await stream.next(1, seat, aborting))
      const wrong = halving.verdict
      if (wrong) {
        const { restored } = halving
        this.#keepAhead(halving.acceptedAhead)
        if (restored[0]) {
          this.#whollyRefused ??= new Map()
          this.#whollyRefused.set(stream.logType, restored[0].to)
        }
        await writer.write(stream, settlement, restored, halving.divided)
        await this.#fail(sent, { kind: 'rejected', reason: wrong })
        return undefined
      }
      sent = halving.next
      if (!sent) return settlement
      await writer.write(stream, settlement, halving.unsettled, halving.divided)
      // The pause between batches is none between the pieces of one; the destination's rate holds for them too.
      if (rate.waitMs > longestPauseSeatedMs) seat.stepAside()
      await sleep(rate.waitMs, stopping)
      if (stopping.aborted) return undefined
      landing = await this.#launch(stream, sent, seat)
    }
    return undefined
  }

  /** They are not sent again when their turn comes. */
  #keepAhead(batches: readonly Batch[]): void {
    if (batches.length === 0) return
    this.#acceptedAhead ??= new Map()
    for (const { id, logType, from, to } of batches) this.#acceptedAhead.set(id, { logType, from, to })
  }

  async #fail(batch: Batch, failure: Parameters<Condition['failed']>[1]): Promise<void> {
    const abandoned = await this.#condition.failed(batch, failure, this.#deps.streams(), [
      ...(this.#acceptedAhead?.values() ?? []),
    ])
    if (abandoned) this.#acceptedAhead = undefined
  }

  #othersWait(stream: Stream, seat: Seat): boolean {
    return seat.contended || this.#deps.streams().some((other) => other !== stream && other.awake)
  }

  /**
   * Keeps the pause between two batches, over turns too. False when it shall stop, and when the pause is so
   * long that others could use the seat: the turn ends, and the next one begins after the pause.
   */
  async #clearance(): Promise<boolean> {
    const { stopping } = this.#deps
    const { waitMs } = this
    if (waitMs > longestPauseSeatedMs) return false
    if (waitMs > 0) await sleep(waitMs, stopping)
    return !stopping.aborted
  }

  async #launch(stream: Stream, batch: Batch, seat: Seat): Promise<Landing> {
    // Nothing in it can be sent, or it was accepted before: it only has to be settled.
    const settled = { outcome: { kind: 'accepted' }, durationMs: 0 } as const
    if (batch.events.length === 0) return settled
    if (this.#acceptedAhead?.delete(batch.id)) return { ...settled, isOld: true }
    const { clock, rate, sender, tracing, aborting } = this.#deps
    // What was accepted beyond one that is given up would be sent again.
    const stopping = this.#destination.delivery.maxInFlight > 1 ? aborting : this.#deps.stopping
    const started = clock.monotonic()
    const begun = { at: started }
    this.#begun.push(begun)
    const slow = setTimeout(() => seat.stepAside(), slowAfterMs)
    stream.size.attempted(batch.to)
    try {
      const options = { quickRetries: !this.#condition.failing, rate, tracing, stopping }
      const outcome = await attemptBatch(this.#destination, sender, batch, options, aborting)
      const landed = { outcome, durationMs: clock.monotonic() - started }
      this.#notBefore = clock.monotonic() + this.#destination.delivery.interBatchDelayMs
      learnSize(stream.size, batch, outcome, landed.durationMs)
      return landed
    } catch (error) {
      return { error }
    } finally {
      clearTimeout(slow)
      this.#lastAnswerMs = clock.monotonic() - started
      this.#begun.splice(this.#begun.indexOf(begun), 1)
    }
  }
}
