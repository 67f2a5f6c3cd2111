/**
 * One stint of a replay: from its planning, or from where the last stint left it, until it has ended, fails, is
 * stopped, or its destination holds it back. Everything it knows is stored; the next stint, also one of another
 * process, goes on from there with the settings of its time.
 *
 * It takes turns like a forwarder, in lanes of the replays' own (I6, I9), and lets live delivery go first. A failure
 * is the replay's own: the destination's state and its cursors are the live stream's.
 */
import type { HttpClient, Outcome, Sender } from '../../providers/provider.ts'
import { type Clock, sleep } from '../clock.ts'
import { type Availability, errorCode, isCancelled } from '../db/availability.ts'
import type { Destination } from '../destinations/destination.ts'
import { SourceError } from '../errors.ts'
import { comparePositions } from '../sources/position.ts'
import type { Reader } from '../sources/reader.ts'
import type { SourceDefinition } from '../sources/source.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import { attemptBatch } from './attempt-batch.ts'
import type { Batch } from './batch.ts'
import type { BatchSizes } from './batch-size.ts'
import { decide, type Health } from './decide.ts'
import type { Lanes, Seat } from './lanes.ts'
import { retryHeld } from './lease.ts'
import { type RateLimit, smoothBatchSize } from './rate-limit.ts'
import { DeadLetterReader } from './replay-dead-letters.ts'
import type { ReplayFacts, Standing } from './replay-facts.ts'
import {
  expired,
  notItsOwn,
  notReadable,
  type Plan,
  planReplay,
  readableNow,
  scopeOf,
  stampedOf,
} from './replay-plan.ts'
import { RangeWork, type Setback } from './replay-range.ts'
import type { ReplayReporter } from './replay-reporter.ts'
import { healthOf, type Replay, type ReplayRange, type ReplayStore } from './replay-store.ts'
import type { DeliveryStore } from './store.ts'
import { Stream } from './stream.ts'
import type { PageReader, SourceView, StreamSource } from './stream-source.ts'

export interface ReplayRunnerDeps {
  readonly store: ReplayStore
  readonly facts: ReplayFacts
  readonly delivery: Pick<DeliveryStore, 'disable'>
  readonly availability: Availability
  readonly sourceAvailability: Availability
  /** The replays' own. */
  readonly lanes: Lanes
  /** Of a destination, shared with its live stream; undefined while that does not run. */
  rate(destinationId: number): RateLimit | undefined
  /** Somebody of the live stream waits for a seat or for bytes. */
  liveContended(): boolean
  readonly clock: Clock
  readonly http: HttpClient
  readonly tracing: Tracing
  readonly requestTimeoutMs: number
  readonly backoffScheduleMs: readonly number[]
  /** In [0, 1). */
  readonly random: () => number
  source(logType: string): SourceView
  definition(logType: string): SourceDefinition | undefined
}

/** A request that takes longer gives its seat back while it waits. */
const slowAfterMs = 1_000
/** A longer pause between batches is spent without a seat. */
const longestPauseSeatedMs = 500
/** How long a batch lets live delivery go first, at most: it is slower then, and still comes to its end. */
const longestYieldMs = 2_000
const yieldStepMs = 100
/** Pages that the database gives up one after the other, each read in smaller pieces than the one before. */
const mostCancelled = 8

export class ReplayRunner {
  readonly replay: Replay
  readonly destination: Destination
  readonly #deps: ReplayRunnerDeps
  readonly #reporter: ReplayReporter
  /** Learnt over stints. */
  readonly #sizes: BatchSizes
  readonly #stopping = new AbortController()
  readonly #aborting = new AbortController()
  #sender: Sender | undefined
  /** Of the turn. */
  #seat: Seat | undefined
  #health: Health
  #notBefore = 0
  /** Requests of the turn. Refusals that are remembered do not count, or a turn could end before it gets on. */
  #sent = 0
  #running: Promise<void> | undefined

  constructor(
    replay: Replay,
    destination: Destination,
    reporter: ReplayReporter,
    sizes: BatchSizes,
    deps: ReplayRunnerDeps,
  ) {
    this.replay = replay
    this.destination = destination
    this.#reporter = reporter
    this.#sizes = sizes
    this.#deps = deps
    this.#health = healthOf(replay)
  }

  /** Resolves at the end of the stint; rejects with errors of databases. */
  run(): Promise<void> {
    this.#running ??= this.#run().finally(() => this.#sender?.close())
    return this.#running
  }

  /** What is on its way has `graceMs` to arrive; after that it stays frozen. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort()
    const timer = setTimeout(() => this.#aborting.abort(), graceMs)
    await this.#running?.catch(() => {})
    clearTimeout(timer)
  }

  async #run(): Promise<void> {
    const { id } = this.replay
    try {
      if (this.replay.state === 'waiting' && !(await this.#begin())) return
      const ranges = await this.#write(() => this.#deps.store.ranges(id))
      for (const range of ranges) {
        if (!(await this.#replayRange(range))) return
      }
      await this.#write(() => this.#deps.store.finish(id))
    } catch (error) {
      if (!this.#stopping.signal.aborted) throw error
    }
  }

  async #begin(): Promise<boolean> {
    const plan = await this.#plan()
    const { store } = this.#deps
    const { id } = this.replay
    switch (plan.kind) {
      case 'refused':
        await this.#end(plan.reason)
        return false
      case 'wait':
        await this.#note(plan.reason)
        return false
      case 'ranges':
        await this.#write(() => store.begin(id, plan.ranges, plan.expected))
        this.#reporter.started(plan.expected)
        return true
      default:
        return plan satisfies never
    }
  }

  async #plan(): Promise<Plan> {
    const { facts, source, definition } = this.#deps
    try {
      return await planReplay(this.replay, this.destination, {
        facts: {
          standings: (...of) => this.#write(() => facts.standings(...of)),
          skipped: (...of) => this.#write(() => facts.skipped(...of)),
          deadLetterCounts: (...of) => this.#write(() => facts.deadLetterCounts(...of)),
        },
        source,
        definition,
        async count(reader, scope, range) {
          try {
            return await reader.count(scope, range)
          } catch (error) {
            if (isCancelled(error)) return undefined
            throw error
          }
        },
      })
    } catch (error) {
      if (isCancelled(error)) return { kind: 'refused', reason: tookTooLong }
      // Data exceptions: a key that is none of the column's type.
      if (errorCode(error)?.startsWith('22') !== true) throw error
      return { kind: 'refused', reason: 'The positions do not fit the keys of the source.' }
    }
  }

  /** True when the range was gone through. */
  async #replayRange(range: ReplayRange): Promise<boolean> {
    const { logType, position, to } = range
    if (position === to) return true
    if (!this.destination.logTypes.includes(logType)) {
      await this.#end(notItsOwn(logType))
      return false
    }
    const [standing] = await this.#write(() => this.#deps.facts.standings(this.destination.id, [logType]))
    if (standing?.life !== range.life) {
      await this.#end(
        `The source of ${logType} has been pointed elsewhere or rebased: the replay's positions mean other rows now.`,
      )
      return false
    }
    const isTable = this.replay.kind !== 'dead_letters'
    const readable = readableNow(standing, isTable ? to : '0', this.#deps)
    if (!readable) {
      await this.#note(notReadable(logType))
      return false
    }
    const work = new RangeWork(range, this.#openStream(range, standing, readable.reader), {
      replayId: this.replay.id,
      destinationId: this.destination.id,
      refusedBefore: !isTable,
      failures: () => this.#health.consecutiveFailures,
      send: (batch) => this.#send(batch),
      monotonic: () => this.#deps.clock.monotonic(),
      move: (move) => this.#write(() => this.#deps.store.move(move)),
      onSettled: ({ accepted, deadLetters }) => {
        if (accepted > 0) this.#health = { ...this.#health, ...well }
        this.#reporter.settled(logType, accepted, deadLetters)
      },
    })
    return this.#turns(work)
  }

  async #turns(work: RangeWork): Promise<boolean> {
    const stopping = this.#stopping.signal
    while (!stopping.aborted) {
      await sleep(this.#pauseMs, stopping)
      const lane = this.#health.firstFailedAt === undefined ? 'healthy' : 'failing'
      const seat = await this.#deps.lanes.enter(lane, stopping)
      let settled = false
      try {
        this.#seat = seat
        work.enter()
        const end = await this.#turn(work, seat)
        settled = end !== 'failed'
        if (end !== 'turn') return end === 'done'
      } finally {
        work.leave(!settled)
        seat.leave()
      }
    }
    return false
  }

  /** The pause between batches, and what the destination's rate leaves beside its live stream. */
  get #pauseMs(): number {
    const { clock, rate } = this.#deps
    return Math.max(this.#notBefore - clock.monotonic(), rate(this.destination.id)?.waitMs ?? 0, 0)
  }

  /** Batches until the range's end, a failure, or the end of the turn. */
  async #turn(work: RangeWork, seat: Seat): Promise<'done' | 'failed' | 'turn'> {
    const stopping = this.#stopping.signal
    let cancelled = 0
    this.#sent = 0
    while (!stopping.aborted) {
      if (this.#sent >= this.destination.delivery.maxCatchupBatches && seat.contended) return 'turn'
      const pauseMs = this.#pauseMs
      if (pauseMs > longestPauseSeatedMs) return 'turn'
      if (pauseMs > 0) await sleep(pauseMs, stopping)
      for (let waited = 0; waited < longestYieldMs && this.#deps.liveContended(); waited += yieldStepMs) {
        await sleep(yieldStepMs, stopping)
      }
      if (stopping.aborted) return 'turn'
      try {
        const step = await work.step(seat, this.#aborting.signal)
        cancelled = 0
        if (step.kind === 'end') return 'done'
        if (step.kind === 'failed') {
          await this.#fail(step.setback)
          return 'failed'
        }
      } catch (error) {
        cancelled += 1
        if (!isCancelled(error)) throw error
        if (cancelled >= mostCancelled) {
          await this.#fail({ kind: 'retry', reason: { code: 'timeout', message: tookTooLong } })
          return 'failed'
        }
        await sleep(longestPauseSeatedMs, stopping)
      }
    }
    return 'turn'
  }

  async #send(batch: Batch): Promise<Outcome> {
    const { clock, http, requestTimeoutMs, tracing } = this.#deps
    const { configured, delivery, id } = this.destination
    this.#sender ??= configured.open({ http, now: () => clock.now(), requestTimeoutMs })
    this.#sent += 1
    const slow = setTimeout(() => this.#seat?.stepAside(), slowAfterMs)
    try {
      const quickRetries = this.#health.firstFailedAt === undefined
      const stopping = this.#stopping.signal
      const options = { quickRetries, rate: this.#deps.rate(id), tracing, stopping }
      return await attemptBatch(this.destination, this.#sender, batch, options, this.#aborting.signal)
    } finally {
      clearTimeout(slow)
      this.#notBefore = clock.monotonic() + delivery.interBatchDelayMs
    }
  }

  /** The replay's own failure: its own back-off, and its end when the destination has failed for too long. */
  async #fail(setback: Setback): Promise<void> {
    const { clock, backoffScheduleMs, random, store, delivery } = this.#deps
    const { id, revision, delivery: settings } = this.destination
    const error = `${setback.kind}: ${setback.reason.message}`
    const policy = { ...settings, onBacklogExpiry: 'skip' as const, scheduleMs: backoffScheduleMs }
    const decision = decide(this.#health, setback, policy, clock.now(), random())
    const abandoned = decision.effects.find((effect) => effect.kind === 'abandon')
    if (setback.kind === 'gone') {
      // As the live stream would: the endpoint asked never to be called again.
      await this.#write(() => delivery.disable(id, revision, error))
      await this.#end(`The destination was disabled: ${setback.reason.message}`)
    } else if (abandoned) {
      await this.#end(expired(settings.maxBacklogAgeMs, error))
    } else {
      this.#health = decision.health
      await this.#write(() => store.saveFailure(this.replay.id, decision.health, error))
      this.#reporter.failing(setback, decision.health)
    }
  }

  #openStream(range: ReplayRange, standing: Standing, reader: Reader): Stream<StreamSource> {
    const { configured, delivery, id, orgId } = this.destination
    const { limits, framing, encode } = configured
    const { facts } = this.#deps
    const { logType, position, frozen, divided, life, to } = range
    const isTable = this.replay.kind !== 'dead_letters'
    const { start } = scopeOf(this.replay, orgId, range.from, standing.cursor)
    const stamped = stampedOf(this.replay)
    const letters = {
      deadLetters: (...of: Parameters<ReplayFacts['deadLetters']>) =>
        this.#write(() => facts.deadLetters(...of)),
    }
    const batchSize = smoothBatchSize(delivery.batchSize, delivery, framing.onePerRequest === true)
    const rows = isTable ? reader : new DeadLetterReader(letters, reader, id, range)
    return new Stream<StreamSource>({
      cursor: { life, position, frozen, ...(start && { start }), ...(divided && { divided }) },
      orgId,
      ...(stamped && { stamped }),
      source: { reader: this.#guarded(range, rows, reader), horizon: to, oldest: undefined },
      rules: { destinationId: id, logType, limits, framing, batchSize, replayId: String(this.replay.id) },
      size: this.#sizes.of(logType, batchSize, frozen),
      encode,
      now: () => this.#deps.clock.now(),
      // Rows that went before the replay began are none of its losses.
      oldestBefore: () => null,
    })
  }

  /** Reads only while the source is what it was, and is known to be safe up to the range's end (I2). */
  #guarded({ logType, to }: ReplayRange, rows: PageReader, reader: Reader): PageReader {
    const view = this.#deps.source(logType)
    const isTable = rows === reader
    return {
      readPage: async (scope, range, limit, make) => {
        const { horizon } = view
        if (
          view.reader !== reader ||
          horizon === undefined ||
          (isTable && comparePositions(horizon, to) < 0)
        ) {
          throw new SourceError(
            notReadable(logType),
            'Nothing to do: the replay goes on when it can be read.',
          )
        }
        return rows.readPage(scope, range, limit, make)
      },
    }
  }

  async #end(reason: string): Promise<void> {
    await this.#write(() => this.#deps.store.fail(this.replay.id, reason))
  }

  async #note(reason: string): Promise<void> {
    if (this.replay.lastError === reason) return
    await this.#write(() => this.#deps.store.note(this.replay.id, reason, false))
  }

  #write<T>(work: () => Promise<T>): Promise<T> {
    const { availability, store } = this.#deps
    return retryHeld(availability, store.lease, work, this.#aborting.signal)
  }
}

const tookTooLong =
  'The database gave up reading the rows: it took longer than statement_timeout allows. An index on the timestamp may help.'

/** After an accepted batch. */
const well = { consecutiveFailures: 0, firstFailedAt: undefined, nextAttemptAt: undefined }
