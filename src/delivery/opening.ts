/** Opens destinations: a forwarder for each, and a stream for each of its log types. */
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
  onLost(): void
}

export class Opening {
  readonly #deps: OpeningDeps

  constructor(deps: OpeningDeps) {
    this.#deps = deps
  }

  /** A forwarder that is not started yet, with streams for those log types that have a cursor. */
  open(destination: Destination, state: DestinationState, { lease, again, onLost }: Opener): Forwarder {
    const { clock, log, requestTimeoutMs } = this.#deps
    const http = underLease(this.#deps.http, lease)
    const sender = destination.configured.open({ http, now: clock.now.bind(clock), requestTimeoutMs })
    const forwarder = new Forwarder(destination, usableHealth(state.health), sender, {
      ...this.#deps,
      store: this.#deps.store.under(lease),
      reporter: new Reporter(log, clock, destination),
      rate: new RateLimit(destination.delivery, clock),
      onLost,
      isNew: state.cursors.size === 0,
    })
    for (const logType of destination.logTypes) {
      const cursor = state.cursors.get(logType)
      if (!cursor) continue
      const { formerOldest } = this.#deps.source(logType)
      // What waited may be what has been deleted since, and what is frozen waited; otherwise the table tells.
      const isUnknown = again || cursor.rowsWait === true || cursor.frozen.length > 0
      const before = () => formerOldest ?? this.#deps.source(logType).formerOldest
      this.#openStream(forwarder, logType, cursor, isUnknown ? () => undefined : before)
    }
    return forwarder
  }

  /**
   * A cursor that the database could not start is started here, once the source can be read. False when it cannot be yet.
   * Rejects when the forwarder is stopped meanwhile.
   */
  async openMissing(forwarder: Forwarder, logType: string, floor: Floor | undefined): Promise<boolean> {
    const { reader, horizon, life } = this.#deps.source(logType)
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
    const { oldest } = this.#deps.source(logType)
    this.#openStream(forwarder, logType, cursor, () => oldest)
    return true
  }

  #openStream(forwarder: Forwarder, logType: string, cursor: Cursor, oldestBefore: () => Oldest): void {
    const source = this.#deps.source(logType)
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
        now: () => this.#deps.clock.now(),
        progress: this.#deps.progress,
        oldestBefore,
      }),
    )
  }
}

function usableHealth(health: Health): Health {
  return health.status === 'disabled' ? { ...healthy, firstFailedAt: health.firstFailedAt } : health
}
