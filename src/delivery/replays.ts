/**
 * The replays of all destinations: looks twice a second for rows of `spillway.replays` and gives each destination's
 * first one stints (replay-runner.ts), one at a time. A stint ends when its destination's row is edited, when the live
 * stream backs off, or when somebody cancels it; what is stored says where the next one begins.
 *
 *   waiting ──planned──▶ running ──▶ done | failed | cancelled
 *
 * Looked for are the replays of destinations whose lease is held here; with the lease ends the stint.
 * A destination that is disabled or invalid keeps its replays waiting. Nothing here moves a cursor or writes a
 * destination's state (but for an endpoint that answers that it is gone).
 */
import { Bell } from '../clock.ts'
import { isTransient } from '../db/availability.ts'
import type { Destination } from '../destinations/destination.ts'
import { LeaseLostError, SourceError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { BatchSizes } from './batch-size.ts'
import type { FleetStore } from './fleet-store.ts'
import { type Lease, type PermittingHttp, underLease } from './lease.ts'
import { expired } from './replay-plan.ts'
import { ReplayReporter } from './replay-reporter.ts'
import { ReplayRunner, type ReplayRunnerDeps } from './replay-runner.ts'
import type { Replay, ReplayQueue, ReplayStore } from './replay-store.ts'

export interface ReplaysDeps extends Omit<ReplayRunnerDeps, 'store' | 'delivery' | 'http'> {
  readonly log: Log
  readonly queue: ReplayQueue
  readonly fleet: FleetStore
  readonly http: PermittingHttp
  /** Of the shards that are delivered to from here. */
  leases(): readonly Lease[]
  /** As it is delivered to at the moment; undefined while it is not. */
  destination(id: number): Destination | undefined
}

interface Stint {
  readonly runner: ReplayRunner
  readonly done: Promise<void>
}

const pollIntervalMs = 500
/** As for the live stream. */
const editGraceMs = 500
/** After an error of the daemon's own making, before a replay is tried again. */
const pauseAfterErrorMs = 5_000
const pauseWithoutDatabaseMs = 1_000

export class Replays {
  readonly #deps: ReplaysDeps
  /** By destination. */
  readonly #stints = new Map<number, Stint>()
  /** By replay; kept over stints, so that a failure that repeats is said once. */
  readonly #reporters = new Map<number, { readonly shard: number; readonly reporter: ReplayReporter }>()
  readonly #notBefore = new Map<number, number>()
  /** By replay, for the settings that they were learnt under. */
  readonly #sizes = new Map<number, { readonly revision: string; readonly sizes: BatchSizes }>()
  readonly #bell = new Bell()
  #stopping = false

  constructor(deps: ReplaysDeps) {
    this.#deps = deps
  }

  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#bell.ring(), { once: true })
    while (!signal.aborted) {
      await this.#bell.wait(pollIntervalMs)
      if (!signal.aborted) await this.#poll(signal)
    }
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping = true
    await Promise.all([...this.#stints.values()].map(({ runner }) => runner.stop(graceMs)))
  }

  /** Ends the stints of a shard whose lease is given up, or has ended, as `Fleet.leave` does with the live streams. */
  async leave(shard: number, graceMs: number): Promise<void> {
    const stints = [...this.#stints.values()].filter(({ runner }) => runner.replay.shard === shard)
    await Promise.all(
      stints.map(async ({ runner, done }) => {
        await runner.stop(graceMs)
        await done
      }),
    )
    for (const [id, { shard: own }] of this.#reporters) if (own === shard) this.#reporters.delete(id)
  }

  async #poll(signal: AbortSignal): Promise<void> {
    // A stint that ends meanwhile leaves a row that is not what was read.
    const under = new Set(this.#underWay)
    const shards = this.#deps.leases().map(({ shard }) => shard)
    const active = await this.#deps.availability.retry(() => this.#deps.queue.active(shards), signal)
    const ids = new Set(active.map(({ id }) => id))
    await Promise.all(
      [...this.#stints.values()]
        .filter(({ runner: { replay } }) => shards.includes(replay.shard) && !ids.has(replay.id))
        .map((stint) => this.#drop(stint)),
    )
    for (const id of this.#reporters.keys()) if (!ids.has(id)) await this.#report(id)
    for (const id of this.#notBefore.keys()) if (!ids.has(id)) this.#notBefore.delete(id)
    for (const id of this.#sizes.keys()) if (!ids.has(id)) this.#sizes.delete(id)
    for (const replay of active) {
      const hasStint = this.#stints.has(replay.destinationId)
      if (hasStint || !under.has(replay.id)) await this.#look(replay, signal)
    }
  }

  get #underWay(): number[] {
    return [...this.#stints.values()].map(({ runner }) => runner.replay.id)
  }

  async #look(replay: Replay, signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps
    const lease = this.#deps.leases().find(({ shard }) => shard === replay.shard)
    if (!lease) return
    const store = this.#deps.queue.under(lease)
    const destination = this.#deps.destination(replay.destinationId)
    const stint = this.#stints.get(replay.destinationId)
    const held = (replay.liveNextAttemptAt ?? 0) > clock.now()
    if (stint) {
      const isEdited = destination?.revision !== stint.runner.destination.revision
      if (isEdited || held) void stint.runner.stop(editGraceMs)
      return
    }
    // The trigger that ends replays with their destination does not see one that is requested at that moment.
    if (!destination && replay.destinationStatus === null) return this.#orphaned(replay, store, signal)
    const error = destination ? undefined : unusable(replay)
    if (error !== undefined) return this.#note(replay, store, error, false, signal)
    if (!destination) return
    if (held) return this.#hold(replay, store, destination, signal)
    const pausedMs = (this.#notBefore.get(replay.id) ?? 0) - clock.monotonic()
    if ((replay.nextAttemptAt ?? 0) > clock.now() || pausedMs > 0 || this.#stopping) return
    this.#begin(replay, destination, lease)
  }

  #begin(replay: Replay, destination: Destination, lease: Lease): void {
    const { log, clock, queue, fleet, http } = this.#deps
    const reporter =
      this.#reporters.get(replay.id)?.reporter ?? new ReplayReporter(log, clock, replay, destination)
    this.#reporters.set(replay.id, { shard: replay.shard, reporter })
    const runner = new ReplayRunner(replay, destination, reporter, this.#sizesOf(replay, destination), {
      ...this.#deps,
      store: queue.under(lease),
      delivery: fleet.under(lease),
      http: underLease(http, lease),
    })
    const done = runner
      .run()
      .catch((error) => this.#failed(replay, destination, error))
      .then(() => this.#report(replay.id))
      .finally(() => {
        this.#stints.delete(replay.destinationId)
        this.#bell.ring()
      })
    this.#stints.set(replay.destinationId, { runner, done })
  }

  #sizesOf({ id }: Replay, { revision }: Destination): BatchSizes {
    const known = this.#sizes.get(id)
    if (known?.revision === revision) return known.sizes
    const sizes = new BatchSizes()
    this.#sizes.set(id, { revision, sizes })
    return sizes
  }

  /** It has ended by somebody else's hand: what is on its way is broken off. */
  async #drop({ runner, done }: Stint): Promise<void> {
    await runner.stop(0)
    await done
  }

  /** Whoever ended it, here is where it is said. With the database away nobody hears of it: the row has it. */
  async #report(id: number): Promise<void> {
    const result = await this.#deps.queue.result(id).catch(() => undefined)
    const isOver = result?.state !== 'waiting' && result?.state !== 'running'
    if (result) this.#reporters.get(id)?.reporter.ended(result)
    if (isOver) this.#reporters.delete(id)
  }

  #orphaned({ id }: Replay, store: ReplayStore, signal: AbortSignal): Promise<void> {
    return this.#deps.availability.retry(() => store.fail(id, 'The destination was deleted.'), signal)
  }

  /** While the live stream backs off there is no use in trying, and the time counts. */
  async #hold(
    replay: Replay,
    store: ReplayStore,
    { delivery }: Destination,
    signal: AbortSignal,
  ): Promise<void> {
    const error = replay.liveError ?? 'The live stream backs off.'
    const failingForMs = replay.firstFailedAt === null ? 0 : this.#deps.clock.now() - replay.firstFailedAt
    if (failingForMs < delivery.maxBacklogAgeMs) return this.#note(replay, store, error, true, signal)
    const reason = expired(delivery.maxBacklogAgeMs, error)
    await this.#deps.availability.retry(() => store.fail(replay.id, reason), signal)
    await this.#report(replay.id)
  }

  async #note(
    replay: Replay,
    store: ReplayStore,
    error: string,
    isFailure: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    if (replay.lastError === error && (!isFailure || replay.firstFailedAt !== null)) return
    await this.#deps.availability.retry(() => store.note(replay.id, error, isFailure), signal)
  }

  #failed(replay: Replay, { id, name, type, orgId }: Destination, error: unknown): void {
    const { clock, log, sourceAvailability } = this.#deps
    const isPassing = error instanceof LeaseLostError || error instanceof SourceError || isTransient(error)
    if (isTransient(error)) sourceAvailability.reportDown(error)
    else if (!isPassing) log.emit('destination.error', { destination_id: id, name, type, org: orgId, error })
    const pauseMs = isPassing ? pauseWithoutDatabaseMs : pauseAfterErrorMs
    this.#notBefore.set(replay.id, clock.monotonic() + pauseMs)
  }
}

/** Without a word of the reason: `delivery_state.last_error` has it. */
function unusable({ destinationStatus }: Replay): string | undefined {
  if (destinationStatus === 'disabled') return 'The destination is disabled; the replay waits.'
  if (destinationStatus === 'invalid') return 'The destination is invalid; the replay waits.'
  return undefined
}
