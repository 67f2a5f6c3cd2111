/** Opens destinations: a forwarder for each, and a stream for each of its log types. */
import { isDeepStrictEqual } from 'node:util'
import type { SenderDeps } from '../../providers/provider.ts'
import type { Clock } from '../clock.ts'
import type { Availability } from '../db/availability.ts'
import type { Destination } from '../destinations/destination.ts'
import { LeaseLostError } from '../errors.ts'
import type { Floor } from '../sources/floors.ts'
import type { Oldest } from '../sources/reader.ts'
import type { Log } from '../telemetry/log.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import type { Cursor } from './cursor.ts'
import { type Health, healthy } from './decide.ts'
import type { DestinationState, FleetStore } from './fleet-store.ts'
import { Forwarder } from './forwarder.ts'
import type { Lanes } from './lanes.ts'
import { type Lease, type PermittingHttp, underLease } from './lease.ts'
import type { Progress } from './progress.ts'
import { RateLimit, smoothBatchSize } from './rate-limit.ts'
import { Reporter } from './reporter.ts'
import { findStart } from './start.ts'
import type { DeliveryStore } from './store.ts'
import { Stream } from './stream.ts'
import type { SourceView } from './stream-source.ts'

export interface OpeningDeps {
  readonly store: FleetStore
  readonly availability: Availability
  readonly sourceAvailability: Availability
  readonly lanes: Lanes
  readonly progress: Progress
  readonly tracing: Tracing
  readonly clock: Clock
  readonly log: Log
  readonly http: PermittingHttp
  readonly requestTimeoutMs: number
  readonly backoffScheduleMs: readonly number[]
  readonly random: () => number
  source(logType: string): SourceView
}

/** Who opens it. */
export interface Opener {
  readonly lease: Lease
  /** It was delivered to from here before, under the same lease: what a stream had seen is in its cursor, see `idleMoves`. */
  readonly again: boolean
  onLost(forwarder: Forwarder): void
}

/** What the destinations of a shard share: for each of thousands its own would be most of what they hold. */
interface Shared {
  readonly store: DeliveryStore
  readonly sender: SenderDeps
}

export class Opening {
  readonly #deps: OpeningDeps
  readonly #shared = new WeakMap<Lease, Shared>()
  /** By log type; each looks anew whenever it is asked. */
  readonly #sources = new Map<string, SourceView>()
  readonly #now = () => this.#deps.clock.now()

  constructor(deps: OpeningDeps) {
    this.#deps = deps
  }

  /** A forwarder that is not started yet, with streams for those log types that have a cursor. */
  open(destination: Destination, state: DestinationState, { lease, again, onLost }: Opener): Forwarder {
    const { availability, sourceAvailability, lanes, clock, log, progress, tracing } = this.#deps
    const { backoffScheduleMs, random } = this.#deps
    const shared = this.#sharedUnder(lease)
    const sender = destination.configured.open(shared.sender)
    const forwarder = new Forwarder(destination, usableHealth(state.health), sender, {
      store: shared.store,
      availability,
      sourceAvailability,
      lanes,
      clock,
      progress,
      tracing,
      backoffScheduleMs,
      random,
      reporter: new Reporter(log, clock, destination),
      rate: new RateLimit(destination.delivery, clock),
      onLost,
      isNew: state.cursors.size === 0,
    })
    for (const logType of destination.logTypes) {
      const cursor = state.cursors.get(logType)
      if (!cursor) continue
      const source = this.#source(logType)
      const { formerOldest } = source
      // What waited may be what has been deleted since, and what is frozen waited; otherwise the table tells.
      const isUnknown = again || cursor.rowsWait === true || cursor.frozen.length > 0
      const before = () => formerOldest ?? source.formerOldest
      this.#openStream(forwarder, logType, cursor, isUnknown ? unknown : before)
    }
    return forwarder
  }

  /**
   * A cursor that the database could not start is started here, once the source can be read. False when it cannot be yet.
   * Rejects when the forwarder is stopped meanwhile.
   */
  async openMissing(forwarder: Forwarder, logType: string, floor: Floor | undefined): Promise<boolean> {
    const { reader, horizon, life } = this.#source(logType)
    if (!reader || horizon === undefined) return false
    const { destination, isNew, store, stopping: signal } = forwarder
    const { availability, sourceAvailability } = this.#deps
    const position = await sourceAvailability.retry(
      () => findStart({ ...destination, isNew }, reader, horizon, floor?.life === life ? floor : undefined),
      signal,
    )
    const cursor = await availability.retry(async () => {
      await store.seed(destination.id, logType, position)
      return (await this.#deps.store.load([destination.id])).get(destination.id)?.cursors.get(logType)
    }, signal)
    if (!cursor) throw new LeaseLostError(`destination ${destination.id} was deleted, or its lease has ended`)
    const { oldest } = this.#source(logType)
    this.#openStream(forwarder, logType, cursor, () => oldest)
    return true
  }

  #source(logType: string): SourceView {
    const source = this.#sources.get(logType) ?? this.#deps.source(logType)
    this.#sources.set(logType, source)
    return source
  }

  #sharedUnder(lease: Lease): Shared {
    const known = this.#shared.get(lease)
    if (known) return known
    const { store, http, requestTimeoutMs } = this.#deps
    const sender = { http: underLease(http, lease), now: this.#now, requestTimeoutMs }
    const made = { store: store.under(lease), sender }
    this.#shared.set(lease, made)
    return made
  }

  #openStream(forwarder: Forwarder, logType: string, cursor: Cursor, oldestBefore: () => Oldest): void {
    const source = this.#source(logType)
    const { configured, delivery, id, orgId } = forwarder.destination
    forwarder.open(
      new Stream({
        cursor,
        orgId,
        source,
        rules: {
          destinationId: id,
          logType,
          limits: configured.limits,
          framing: configured.framing,
          batchSize: smoothBatchSize(delivery.batchSize, delivery, configured.framing.onePerRequest === true),
        },
        encode: configured.encode,
        now: this.#now,
        progress: this.#deps.progress,
        oldestBefore,
      }),
    )
  }
}

const unknown = () => undefined

function usableHealth(health: Health): Health {
  if (health.status === 'disabled') return { ...healthy, firstFailedAt: health.firstFailedAt }
  return isDeepStrictEqual(health, healthy) ? healthy : health
}
