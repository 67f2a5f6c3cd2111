/**
 * The work: the sources, the registry, this replica's leases and the forwarders of what they cover, wired to each other.
 *
 *   stop: what is under way for each shard → its lease, so that another replica goes on → the rest
 */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { DestinationType } from '../providers/provider.ts'
import { systemClock, within } from './clock.ts'
import { LeaseConnection } from './cluster/lease-connection.ts'
import { LeaseStore } from './cluster/lease-store.ts'
import { Leases } from './cluster/leases.ts'
import type { Config } from './config.ts'
import { Availability, isTransient } from './db/availability.ts'
import type { SourceSql, Sql } from './db/client.ts'
import { meterSource, meterState, PoolUsage } from './db/pool-usage.ts'
import { Route } from './db/pooler.ts'
import type { DatabaseProbe } from './db/probe.ts'
import { connectRenewingState } from './db/renewing.ts'
import { openSource } from './db/source.ts'
import type { StatementWatch } from './db/statement-watch.ts'
import { DueScan } from './delivery/due-scan.ts'
import { Fleet } from './delivery/fleet.ts'
import { FleetStore } from './delivery/fleet-store.ts'
import { LagMeter } from './delivery/lag.ts'
import { Lanes } from './delivery/lanes.ts'
import type { PermittingHttp } from './delivery/lease.ts'
import { Progress } from './delivery/progress.ts'
import { ReplayFacts } from './delivery/replay-facts.ts'
import { ReplayQueue } from './delivery/replay-store.ts'
import { Replays } from './delivery/replays.ts'
import { deliveryDefaults } from './destinations/delivery-settings.ts'
import type { DestinationRules } from './destinations/destination.ts'
import { DatabaseClock, Registry, type RegistryChanges } from './destinations/registry.ts'
import { openVault, type Vault } from './destinations/secrets.ts'
import { type ClosableHttpClient, createHttpClient } from './egress/http-client.ts'
import { metered } from './egress/metered-client.ts'
import { traced } from './egress/traced.ts'
import type { Readiness } from './readiness.ts'
import { serviceReadiness } from './service-readiness.ts'
import { destinationReadings, serviceReadings } from './service-readings.ts'
import { DatabaseDiagnosis } from './sources/diagnosis.ts'
import { Floors } from './sources/floors.ts'
import { HorizonStore } from './sources/horizon-store.ts'
import { Notifications } from './sources/notifications.ts'
import type { Position } from './sources/position.ts'
import type { Trace } from './sources/rewind.ts'
import type { SourceDefinition } from './sources/source.ts'
import { SourceSet } from './sources/source-set.ts'
import type { Log } from './telemetry/log.ts'
import type { Metrics } from './telemetry/metrics.ts'
import type { Tracing } from './telemetry/tracing.ts'
import { version } from './version.ts'

export interface ServiceOptions {
  readonly config: Config
  readonly databaseUrl: string
  /** To that database. */
  readonly route: Route
  readonly pooled: boolean
  readonly types: readonly DestinationType[]
  readonly log: Log
  readonly metrics: Metrics
  readonly tracing: Tracing
  /** Of the database with Spillway's own tables. */
  readonly availability: Availability
}

/** Connections at most: small writes that return at once, and pages that are read beside each other. */
const statePoolSize = 8
const sourcePoolSize = 8
const megabyte = 1024 * 1024
/** Turns at once, and what they may have read and not yet sent (lanes.ts): 128 MB in all, whatever the backlog. */
const laneSizes = {
  healthy: { seats: 256, bytes: 48 * megabyte },
  failing: { seats: 128, bytes: 16 * megabyte },
  aside: { seats: 1_024, bytes: 64 * megabyte },
}
/** Replays have seats of their own, few of them: they are in no hurry. 24 MB in all. */
const replayLaneSizes = {
  healthy: { seats: 4, bytes: 8 * megabyte },
  failing: { seats: 4, bytes: 8 * megabyte },
  aside: { seats: 16, bytes: 8 * megabyte },
}
/** Closing connections must not use up the time that is promised for a stop. */
const closeSeconds = 1
/** For the last writes after the grace time. */
const settleMs = 1_000
/** Longer than a lease, for whoever takes over to have looked. */
const lookBackMarginMs = 5_000
/** A renewal that is not answered by then is sent again on another connection. */
const longestLeaseAnswerMs = 5_000

export class Service {
  readonly #options: ServiceOptions
  /** Aborts when no new work shall be begun. */
  readonly #stopping = new AbortController()
  /** Aborts when the leases need not be renewed any more. */
  readonly #closing = new AbortController()
  readonly #types: ReadonlyMap<string, DestinationType>
  readonly #vault: Vault
  readonly #sql: Sql
  readonly #sourceSql: SourceSql
  readonly #sourceAvailability: Availability
  readonly #horizons: HorizonStore
  readonly #http: ClosableHttpClient
  readonly #sources: SourceSet
  readonly #notifications: Notifications
  readonly #fleet: Fleet
  readonly #replays: Replays
  readonly #registry: Registry
  readonly #scan: DueScan
  readonly #lag: LagMeter
  readonly #leaseConnection: LeaseConnection
  readonly #leases: Leases
  readonly #rerouted = Promise.withResolvers<void>()
  readonly #progress = new Progress()
  readonly #probes: readonly DatabaseProbe[]
  readonly #readiness: Readiness
  readonly #withdraw: readonly (() => void)[]
  #floors = new Floors(new Map())
  #loops: Promise<unknown> = Promise.resolve()

  constructor(options: ServiceOptions) {
    const { config, databaseUrl, route, pooled, log, metrics, tracing, availability } = options
    const sourceUrl = config.sourceDatabaseUrl ?? databaseUrl
    const sourceRoute = sourceUrl === databaseUrl ? route : new Route(sourceUrl, 'source', log)
    this.#options = options
    this.#types = new Map(options.types.map((type) => [type.type, type]))
    this.#vault = openVault(config)
    const pools = { state: new PoolUsage(statePoolSize), source: new PoolUsage(sourcePoolSize) }
    const watches: StatementWatch[] = []
    const onWatch = (watch: StatementWatch) => watches.push(watch)
    const state = { applicationName: 'spillway', max: statePoolSize, pooled, oneStatementAtATime: true }
    this.#sql = meterState(connectRenewingState(databaseUrl, state, onWatch), pools.state)
    const source = { applicationName: 'spillway reader', max: sourcePoolSize }
    this.#sourceSql = meterSource(
      openSource(sourceUrl, source, sourceRoute, { renewing: true, onWatch }),
      pools.source,
    )
    this.#sourceAvailability = new Availability(log, 'source')
    this.#http = createHttpClient({ allow: config.egressAllow, proxy: config.egressProxy })
    const http: PermittingHttp = {
      permitting: (refusal) => traced(metered(this.#http.permitting(refusal), metrics), tracing),
    }
    this.#horizons = new HorizonStore(this.#sql)
    const clock = new DatabaseClock()
    this.#sources = new SourceSet({
      sql: this.#sourceSql,
      availability: this.#sourceAvailability,
      log,
      tracing,
      pollIntervalMs: config.pollIntervalMs,
      lookBackMs: config.leaseMs + lookBackMarginMs,
      diagnosis: new DatabaseDiagnosis(this.#sourceSql),
      recall: (definition) =>
        availability.retry(() => this.#horizons.recall(definition), this.#closing.signal),
      remember: (definition, horizon, trace) => this.#remember(definition, horizon, trace),
      onRows: (logType, rows) => this.#fleet.wake(logType, rows),
      onReady: (logType) => {
        this.#fleet.sourceReady(logType)
        this.#scan.request()
      },
      onReread: (logType) => this.#fleet.reread(logType),
      onHinted: (logType, hinted) => this.#notifications.setHinted(logType, hinted),
    })
    this.#notifications = new Notifications({
      url: sourceUrl,
      log,
      mayListen: async () => !(await sourceRoute.pooled()),
      onHint: (logType) => this.#sources.hint(logType),
    })
    const fleetStore = new FleetStore(this.#sql)
    const lanes = new Lanes(laneSizes)
    const replayLanes = new Lanes(replayLaneSizes)
    const shared = {
      availability,
      sourceAvailability: this.#sourceAvailability,
      clock,
      log,
      tracing,
      http,
      requestTimeoutMs: config.requestTimeoutMs,
      backoffScheduleMs: config.backoffScheduleMs,
      random: Math.random,
      source: (logType: string) => this.#sources.view(logType),
    }
    this.#fleet = new Fleet({
      ...shared,
      store: fleetStore,
      lanes,
      lease: (shard) => this.#leases.of(shard),
      progress: this.#progress,
      rules: () => this.#rules(),
      floors: () => this.#floors.current,
      requestScan: () => this.#scan.request(),
    })
    this.#replays = new Replays({
      ...shared,
      queue: new ReplayQueue(this.#sql),
      fleet: fleetStore,
      leases: () => this.#leases.serving,
      facts: new ReplayFacts(this.#sql),
      lanes: replayLanes,
      liveContended: () => lanes.contended,
      destination: (id) => this.#fleet.destination(id),
      rate: (id) => this.#fleet.rate(id),
      definition: (logType) => this.#sources.definitions.find((each) => each.logType === logType),
    })
    this.#scan = new DueScan({
      availability: this.#sourceAvailability,
      log,
      openMissing: (logType) => this.#fleet.sourceReady(logType),
      watchers: () => this.#sources.watchers,
      forwarders: () => this.#fleet.forwarders,
      store: fleetStore,
    })
    this.#lag = new LagMeter({
      destinations: () => this.#fleet.forwarders,
      unserved: () => this.#fleet.unserved,
      save: (lags) => fleetStore.saveLags(lags, this.#leases.serving),
      clock,
      availability,
      sourceAvailability: this.#sourceAvailability,
      log,
    })
    const id = randomUUID()
    const hurry = async () => {
      // What waits for a session of a pooler looks like what was lost: only patience tells.
      if (pooled || (await sourceRoute.pooled())) return
      for (const watch of watches) void watch.hurry()
    }
    this.#leaseConnection = new LeaseConnection({
      url: databaseUrl,
      route,
      pooled,
      answerWithinMs: Math.min(longestLeaseAnswerMs, config.leaseMs / 3),
      onRerouted: () => this.#rerouted.resolve(),
      onRegained: () => void hurry().catch(() => {}),
    })
    this.#leases = new Leases({
      id,
      store: new LeaseStore(
        (statement) => this.#leaseConnection.run(statement),
        { id, host: hostname(), version },
        config.leaseMs,
      ),
      leaseMs: config.leaseMs,
      graceMs: config.requestTimeoutMs,
      clock: systemClock,
      log,
      availability,
      onTaken: (shards) => this.#fleet.take(shards),
      onLeave: async (shard, graceMs) => {
        await this.#fleet.leave(shard, graceMs, this.#replays.leave(shard, graceMs))
      },
    })
    this.#registry = new Registry({
      sql: this.#sql,
      availability,
      clock,
      reading: (look) => this.#progress.track('registry', look, () => this.#stopping.signal.aborted),
      onPoll: () => this.#floors.mark(this.#sources.horizons),
      onChanges: (changes) => this.#apply(changes),
    })
    const { readiness, probes } = serviceReadiness({
      sql: this.#sql,
      sourceSql: this.#sourceSql,
      pools,
      sources: this.#sources,
      progress: this.#progress,
      leases: this.#leases,
      pollIntervalMs: config.pollIntervalMs,
    })
    this.#readiness = readiness
    this.#probes = probes
    const parts = {
      fleet: this.#fleet,
      sources: this.#sources,
      lag: this.#lag,
      lanes: { live: lanes, replay: replayLanes },
      pools,
      sourceAvailability: this.#sourceAvailability,
      leases: this.#leases,
    }
    this.#withdraw = [
      metrics.provide(serviceReadings(parts)),
      metrics.provideDestinations(() => destinationReadings(parts)),
    ]
  }

  get destinations(): number {
    return this.#fleet.size
  }

  get sources(): number {
    return this.#sources.watchers.length
  }

  /** What keeps it from its work at the moment. */
  get problems(): string[] {
    return this.#readiness.problems
  }

  /** Resolves when all rows are taken up and delivery runs. */
  async start(): Promise<void> {
    const { config, availability } = this.#options
    const signal = this.#stopping.signal
    const separate = config.sourceDatabaseUrl !== undefined
    await availability.retry(() => this.#horizons.saveSeparateSource(separate), signal)
    this.#floors = new Floors(await availability.retry(() => this.#horizons.floors(), signal))
    await this.#registry.poll(signal)
    await this.#leases.start(signal)
    this.#loops = Promise.all([
      this.#leases.run(this.#closing.signal),
      this.#registry.run(signal),
      this.#scan.run(signal),
      this.#lag.run(signal),
      this.#notifications.run(signal),
      this.#replays.run(signal),
      ...this.#probes.map((probe) => probe.run(signal)),
    ])
  }

  /**
   * Rejects when a loop fails for a reason that waiting does not mend. Resolves when the way to the database has changed,
   * so that the connections have to be made anew.
   */
  async run(): Promise<void> {
    await Promise.race([this.#loops, this.#rerouted.promise])
  }

  /**
   * What is on its way has `graceMs` to arrive; after that it stays frozen for whoever takes over. A database that does not
   * answer, or a lock that is not given, holds it up a little, not longer.
   */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort()
    await within(graceMs + settleMs, this.#leave(graceMs))
    this.#closing.abort()
    const rest = Promise.allSettled([
      this.#loops,
      this.#fleet.stop(0),
      this.#replays.stop(0),
      this.#sources.stop(),
    ])
    await within(settleMs, rest)
    await this.#http.close()
    await Promise.all([
      this.#leaseConnection.close(),
      this.#sql.end({ timeout: closeSeconds }),
      this.#sourceSql.end({ timeout: closeSeconds }),
    ])
    await within(settleMs, rest)
    for (const withdraw of this.#withdraw) withdraw()
  }

  async #leave(graceMs: number): Promise<void> {
    // A table that is locked must not hold the stop up.
    await within(settleMs, this.#scan.finish())
    await this.#leases.leave(graceMs)
  }

  async #apply({ sources, upserted, removed }: RegistryChanges): Promise<void> {
    if (sources) {
      this.#fleet.rejudge(await this.#sources.apply(sources))
    }
    await this.#fleet.remove(removed)
    await this.#fleet.apply(upserted)
  }

  /** With the state database away there is nothing to be done about it, and reading goes on. */
  async #remember(definition: SourceDefinition, horizon: Position, trace: Trace): Promise<void> {
    try {
      await this.#horizons.remember(definition, horizon, trace)
    } catch (error) {
      if (isTransient(error)) this.#options.availability.reportDown(error)
      else if (!this.#closing.signal.aborted) {
        this.#options.log.emit('source.error', { log_type: definition.logType, error })
      }
    }
  }

  #rules(): DestinationRules {
    return {
      types: this.#types,
      logTypes: new Map(
        this.#sources.definitions.map(({ logType, orgColumn }) => [logType, { hasOrg: orgColumn !== null }]),
      ),
      delivery: deliveryDefaults(this.#options.config),
      vault: this.#vault,
    }
  }
}
