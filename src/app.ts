/**
 * The composition root: what is built from what, started and stopped in which order.
 *
 *   start: HTTP side → database → migrations → service
 *   stop:  service (what is on its way may arrive) → HTTP side → database
 *
 * A service whose connections do not fit the way to the database any more is replaced by another one.
 */
import { destinationTypes } from '../providers/index.ts'
import { within } from './clock.ts'
import type { Config } from './config.ts'
import { Availability } from './db/availability.ts'
import { type Database, openDatabase } from './db/database.ts'
import { migrate } from './db/migrate.ts'
import { Route } from './db/pooler.ts'
import { type Readiness, type RunningHttpServer, startHttpServer } from './http/server.ts'
import { Service } from './service.ts'
import type { Log } from './telemetry/log.ts'
import type { Metrics } from './telemetry/metrics.ts'
import { noTracing, type Tracing } from './telemetry/tracing.ts'
import { version as ownVersion } from './version.ts'

export { destinationTypes }

/** Of the 5 s beyond the request time-out within which the process ends: the rest is for closing. */
const stopMarginMs = 3_500

export class Daemon {
  readonly #config: Config
  readonly #log: Log
  readonly #metrics: Metrics
  readonly #availability: Availability
  readonly #stopping = new AbortController()
  #database: Database | undefined
  #tracing: Tracing = noTracing
  #http: RunningHttpServer | undefined
  #service: Service | undefined
  #starting: Promise<void> = Promise.resolve()
  #serving: Promise<void> = Promise.resolve()
  #startedAt = 0

  /** `metrics`: those that `log` moves. */
  constructor(config: Config, log: Log, metrics: Metrics) {
    this.#config = config
    this.#log = log
    this.#metrics = metrics
    this.#availability = new Availability(log, 'state')
    metrics.provide({
      spillway_ready: () => (this.#readiness().ready ? 1 : 0),
      spillway_database_up: () => [{ labels: { database: 'state' }, value: this.#availability.down ? 0 : 1 }],
    })
  }

  /** Where health is told; undefined before the start. */
  get httpUrl(): string | undefined {
    return this.#http?.url
  }

  get databaseUrl(): string | undefined {
    return this.#database?.url
  }

  /** Resolves when the database is ready. Rejects when the daemon cannot start, or is stopped meanwhile. */
  start(): Promise<void> {
    this.#starting = this.#start()
    return this.#starting
  }

  async #start(): Promise<void> {
    this.#startedAt = performance.now()
    const { databaseUrl, httpHost, httpPort, tracing } = this.#config
    this.#log.emit('daemon.starting', { node: process.version, embedded: databaseUrl === undefined })
    if (tracing) {
      // Loaded on demand: without it OpenTelemetry's SDK costs neither time nor memory.
      const { openOtlpTracing } = await import('./telemetry/otlp-tracing.ts')
      this.#tracing = openOtlpTracing(tracing, ownVersion, this.#log)
    }
    this.#http = await startHttpServer({
      host: httpHost,
      port: httpPort,
      readiness: () => this.#readiness(),
      metrics: this.#metrics,
    })
    this.#database = await openDatabase(databaseUrl, this.#log)
    const { url } = this.#database
    const signal = this.#stopping.signal
    const route = new Route(url, 'state', this.#log)
    await this.#availability.retry(() => route.pooled(), signal)
    const { applied, version, postgresVersion } = await this.#availability.retry(
      () => migrate(url, signal),
      signal,
    )
    this.#log.emit('database.migrated', {
      schema_version: version,
      applied,
      postgres_version: postgresVersion,
    })
    this.#serving = this.#serve(url, route)
    // `run` hands the error on; until somebody asks, it must not count as unhandled.
    this.#serving.catch(() => {})
  }

  /** Rejects when the daemon cannot go on. */
  async run(): Promise<void> {
    await this.#serving
  }

  /** Lets what is on its way arrive, and closes everything. */
  async stop(reason: string): Promise<void> {
    const began = performance.now()
    this.#log.emit('daemon.stopping', { reason })
    this.#stopping.abort()
    // A database that does not answer may keep them waiting for ever.
    await within(
      this.#config.requestTimeoutMs + stopMarginMs,
      Promise.allSettled([this.#starting, this.#serving]),
    )
    await this.#tracing.stop()
    await this.#http?.close()
    await this.#database?.close()
    this.#log.emit('daemon.stopped', { duration_ms: Math.round(performance.now() - began) })
    await this.#log.flush()
  }

  async #serve(url: string, route: Route): Promise<void> {
    const stopping = this.#stopping.signal
    try {
      while (!stopping.aborted) {
        const pooled = await this.#availability.retry(() => route.pooled(), stopping)
        await this.#serveOnce(url, route, pooled)
      }
    } catch (error) {
      if (!stopping.aborted) throw error
    }
  }

  async #serveOnce(databaseUrl: string, route: Route, pooled: boolean): Promise<void> {
    const stopping = this.#stopping.signal
    const service = new Service({
      databaseUrl,
      route,
      pooled,
      config: this.#config,
      types: destinationTypes,
      log: this.#log,
      metrics: this.#metrics,
      tracing: this.#tracing,
      availability: this.#availability,
    })
    const stopped = Promise.withResolvers<void>()
    const onAbort = () => stopped.resolve()
    stopping.addEventListener('abort', onAbort, { once: true })
    try {
      await Promise.race([this.#run(service), stopped.promise])
    } finally {
      stopping.removeEventListener('abort', onAbort)
      this.#service = undefined
      await service.stop(this.#config.requestTimeoutMs)
    }
  }

  async #run(service: Service): Promise<void> {
    await service.start()
    this.#service = service
    this.#log.emit('daemon.started', {
      sources: service.sources,
      destinations: service.destinations,
      http: this.#http?.url,
      duration_ms: Math.round(performance.now() - this.#startedAt),
    })
    await service.run()
  }

  #readiness(): Readiness {
    if (this.#stopping.signal.aborted) return { ready: false, problems: ['stopping'] }
    const problems = this.#service?.problems ?? ['starting']
    return { ready: problems.length === 0, problems }
  }
}
