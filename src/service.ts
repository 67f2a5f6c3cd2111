/**
 * One term of leadership: the sources, the registry and the forwarders, wired to each other. Started when
 * this daemon leads and stopped, for good, when it no longer does.
 */
import type { DestinationType } from '../providers/provider.ts'
import { within } from './clock.ts'
import type { Config } from './config.ts'
import { Availability, isTransient } from './db/availability.ts'
import { connectState, type SourceSql, type Sql } from './db/client.ts'
import { Route } from './db/pooler.ts'
import { openSource } from './db/source.ts'
import { DueScan } from './delivery/due-scan.ts'
import { Fleet } from './delivery/fleet.ts'
import { LagMeter } from './delivery/lag.ts'
import { Lanes } from './delivery/lanes.ts'
import { ReplayFacts } from './delivery/replay-facts.ts'
import { ReplayStore } from './delivery/replay-store.ts'
import { Replays } from './delivery/replays.ts'
import { DeliveryStore } from './delivery/store.ts'
import { deliveryDefaults } from './destinations/delivery-settings.ts'
import type { DestinationRules } from './destinations/destination.ts'
import { DatabaseClock, Registry, type RegistryChanges } from './destinations/registry.ts'
import { openVault, type Vault } from './destinations/secrets.ts'
import { type ClosableHttpClient, createHttpClient } from './egress/http-client.ts'
import { traced } from './egress/traced.ts'
import { DatabaseDiagnosis } from './sources/diagnosis.ts'
import { Floors } from './sources/floors.ts'
import { HorizonStore } from './sources/horizon-store.ts'
import { Notifications } from './sources/notifications.ts'
import type { Position } from './sources/position.ts'
import type { Trace } from './sources/rewind.ts'
import type { SourceDefinition } from './sources/source.ts'
import { SourceSet } from './sources/source-set.ts'
import type { Log } from './telemetry/log.ts'
import type { Tracing } from './telemetry/tracing.ts'

export interface ServiceOptions {
  readonly config: Config
  readonly databaseUrl: string
  /** To that database. */
  readonly route: Route
  /** Through a pooler, for this term. */
  readonly pooled: boolean
  readonly types: readonly DestinationType[]
  readonly log: Log
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

export class Service {
  readonly #options: ServiceOptions
  readonly #stopping = new AbortController()
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
  #floors = new Floors(new Map())
  #loops: Promise<unknown> = Promise.resolve()

  constructor(options: ServiceOptions) {
    const { config, databaseUrl, route, pooled, log, tracing, availability } = options
    const sourceUrl = config.sourceDatabaseUrl ?? databaseUrl
    const sourceRoute = sourceUrl === databaseUrl ? route : new Route(sourceUrl, 'source', log)
    this.#options = options
    this.#types = new Map(options.types.map((type) => [type.type, type]))
    this.#vault = openVault(config)
    this.#sql = connectState(databaseUrl, {
      applicationName: 'spillway',
      max: statePoolSize,
      pooled,
      oneStatementAtATime: true,
    })
    this.#sourceSql = openSource(
      sourceUrl,
      { applicationName: 'spillway reader', max: sourcePoolSize },
      sourceRoute,
    )
    this.#sourceAvailability = new Availability(log, 'source')
    this.#http = createHttpClient({ allow: config.egressAllow, proxy: config.egressProxy })
    this.#horizons = new HorizonStore(this.#sql)
    const clock = new DatabaseClock()
    this.#sources = new SourceSet({
      sql: this.#sourceSql,
      availability: this.#sourceAvailability,
      log,
      tracing,
      pollIntervalMs: config.pollIntervalMs,
      diagnosis: new DatabaseDiagnosis(this.#sourceSql),
      recall: (definition) =>
        availability.retry(() => this.#horizons.recall(definition), this.#stopping.signal),
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
    const delivery = new DeliveryStore(this.#sql)
    const lanes = new Lanes(laneSizes)
    const shared = {
      availability,
      sourceAvailability: this.#sourceAvailability,
      clock,
      log,
      tracing,
      http: traced(this.#http, tracing),
      requestTimeoutMs: config.requestTimeoutMs,
      backoffScheduleMs: config.backoffScheduleMs,
      random: Math.random,
      source: (logType: string) => this.#sources.view(logType),
    }
    this.#fleet = new Fleet({
      ...shared,
      store: delivery,
      lanes,
      rules: () => this.#rules(),
      floors: () => this.#floors.current,
      requestScan: () => this.#scan.request(),
    })
    this.#replays = new Replays({
      ...shared,
      store: new ReplayStore(this.#sql),
      facts: new ReplayFacts(this.#sql),
      delivery,
      lanes: new Lanes(replayLaneSizes),
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
      leaveCursors: () => this.#fleet.leaveCursors(),
    })
    this.#lag = new LagMeter({
      destinations: () => this.#fleet.forwarders,
      unserved: () => this.#fleet.unserved,
      save: (lags) => delivery.saveLags(lags),
      clock,
      availability,
      sourceAvailability: this.#sourceAvailability,
      log,
    })
    this.#registry = new Registry({
      sql: this.#sql,
      availability,
      clock,
      onPoll: () => this.#floors.mark(this.#sources.horizons),
      onChanges: (changes) => this.#apply(changes),
    })
  }

  get destinations(): number {
    return this.#fleet.size
  }

  get sources(): number {
    return this.#sources.watchers.length
  }

  /** What keeps it from its work at the moment. */
  get problems(): string[] {
    const { availability } = this.#options
    return [
      ...(availability.down ? ['state database unavailable'] : []),
      ...(this.#sourceAvailability.down ? ['source database unavailable'] : []),
    ]
  }

  /** Resolves when all rows are taken up and delivery runs. */
  async start(): Promise<void> {
    const { config, availability } = this.#options
    const signal = this.#stopping.signal
    const separate = config.sourceDatabaseUrl !== undefined
    await availability.retry(() => this.#horizons.saveSeparateSource(separate), signal)
    this.#floors = new Floors(await availability.retry(() => this.#horizons.floors(), signal))
    await this.#registry.poll(signal)
    this.#loops = Promise.all([
      this.#registry.run(signal),
      this.#scan.run(signal),
      this.#lag.run(signal),
      this.#notifications.run(signal),
      this.#replays.run(signal),
    ])
  }

  /** Rejects when a loop fails for a reason that waiting does not mend. */
  async run(): Promise<void> {
    await this.#loops
  }

  /**
   * What is on its way has `graceMs` to arrive; after that it stays frozen for the next term. A database that
   * does not answer, or a lock that is not given, holds it up a little, not longer.
   */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort()
    const work = Promise.allSettled([this.#loops, this.#stopFleet(graceMs)])
    await within(graceMs + settleMs, work)
    await this.#http.close()
    await Promise.all([
      this.#sql.end({ timeout: closeSeconds }),
      this.#sourceSql.end({ timeout: closeSeconds }),
    ])
    await within(settleMs, work)
  }

  async #stopFleet(graceMs: number): Promise<void> {
    await Promise.all([this.#fleet.stop(graceMs), this.#replays.stop(graceMs)])
    // A table that is locked must not hold the stop up.
    await within(settleMs, this.#scan.finish())
    await Promise.allSettled([this.#fleet.leaveCursors(), this.#sources.stop()])
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
      else if (!this.#stopping.signal.aborted) {
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
