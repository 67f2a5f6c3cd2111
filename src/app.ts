/**
 * The composition root: what is built from what, started and stopped in which order.
 *
 *   start: HTTP side → database → migrations → leadership → service
 *   stop:  service (what is on its way may arrive) → leadership → HTTP side → database
 *
 * A daemon that does not lead stands by. One that loses the leadership stops everything that writes, and
 * stands by again.
 */
import { destinationTypes } from '../providers/index.ts'
import { within } from './clock.ts'
import { Leadership } from './cluster/leadership.ts'
import type { Config } from './config.ts'
import { Availability } from './db/availability.ts'
import { type Database, openDatabase } from './db/database.ts'
import { migrate } from './db/migrate.ts'
import { Route } from './db/pooler.ts'
import { type Readiness, type RunningHttpServer, startHttpServer } from './http/server.ts'
import { Service, type ServiceOptions } from './service.ts'
import type { Log } from './telemetry/log.ts'
import { noTracing, type Tracing } from './telemetry/tracing.ts'
import { version as ownVersion } from './version.ts'

export { destinationTypes }

/** Of the 5 s beyond the request time-out within which the process ends: the rest is for closing. */
const stopMarginMs = 3_500

export class Daemon {
  readonly #config: Config
  readonly #log: Log
  readonly #availability: Availability
  readonly #stopping = new AbortController()
  #database: Database | undefined
  #tracing: Tracing = noTracing
  #http: RunningHttpServer | undefined
  #leadership: Leadership | undefined
  #service: Service | undefined
  #standby = false
  #starting: Promise<void> = Promise.resolve()
  #terms: Promise<void> = Promise.resolve()
  #startedAt = 0

  constructor(config: Config, log: Log) {
    this.#config = config
    this.#log = log
    this.#availability = new Availability(log, 'state')
  }

  /** Where health is told; undefined before the start. */
  get httpUrl(): string | undefined {
    return this.#http?.url
  }

  get databaseUrl(): string | undefined {
    return this.#database?.url
  }

  /** Resolves when the daemon serves or stands by. Rejects when it cannot start, or is stopped meanwhile. */
  start(): Promise<void> {
    this.#starting = this.#start()
    return this.#starting
  }

  async #start(): Promise<void> {
    this.#startedAt = performance.now()
    const { databaseUrl, httpHost, httpPort, tracing } = this.#config
    this.#log.emit('daemon.starting', { node: process.version, embedded: databaseUrl === undefined })
    if (tracing) {
      // Loaded on demand: without it OpenTelemetry costs neither time nor memory.
      const { openOtlpTracing } = await import('./telemetry/otlp-tracing.ts')
      this.#tracing = openOtlpTracing(tracing, ownVersion, this.#log)
    }
    this.#http = await startHttpServer({
      host: httpHost,
      port: httpPort,
      readiness: () => this.#readiness(),
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
    this.#leadership = new Leadership({ url, route, log: this.#log, availability: this.#availability })
    this.#terms = this.#serveTerms(this.#leadership, url, route)
    // `run` hands the error on; until somebody asks, it must not count as unhandled.
    this.#terms.catch(() => {})
  }

  /** Rejects when the daemon cannot go on. */
  async run(): Promise<void> {
    await this.#terms
  }

  /** Lets what is on its way arrive, and closes everything. */
  async stop(reason: string): Promise<void> {
    const began = performance.now()
    this.#log.emit('daemon.stopping', { reason })
    this.#stopping.abort()
    // A database that does not answer may keep them waiting for ever.
    await within(
      this.#config.requestTimeoutMs + stopMarginMs,
      Promise.allSettled([this.#starting, this.#terms]),
    )
    await Promise.all([this.#tracing.stop(), this.#leadership?.release()])
    await this.#http?.close()
    await this.#database?.close()
    this.#log.emit('daemon.stopped', { duration_ms: Math.round(performance.now() - began) })
    await this.#log.flush()
  }

  async #serveTerms(leadership: Leadership, url: string, route: Route): Promise<void> {
    const stopping = this.#stopping.signal
    while (!stopping.aborted) {
      this.#standby = true
      let pooled: boolean
      try {
        await leadership.acquire(stopping)
        pooled = await this.#availability.retry(() => route.pooled(), stopping)
      } catch (error) {
        if (stopping.aborted) return
        throw error
      }
      this.#standby = false
      await this.#serveTerm(leadership, { databaseUrl: url, route, pooled })
    }
  }

  async #serveTerm(
    leadership: Leadership,
    database: Pick<ServiceOptions, 'databaseUrl' | 'route' | 'pooled'>,
  ): Promise<void> {
    const term = new AbortController()
    const endTerm = () => term.abort()
    this.#stopping.signal.addEventListener('abort', endTerm, { once: true })
    const service = new Service({
      ...database,
      config: this.#config,
      types: destinationTypes,
      log: this.#log,
      tracing: this.#tracing,
      availability: this.#availability,
    })
    try {
      const serving = service.start().then(() => {
        this.#service = service
        this.#log.emit('daemon.started', {
          sources: service.sources,
          destinations: service.destinations,
          http: this.#http?.url,
          duration_ms: Math.round(performance.now() - this.#startedAt),
        })
        return service.run()
      })
      const ended = new Promise<void>((resolve) => {
        term.signal.addEventListener('abort', () => resolve(), { once: true })
      })
      await Promise.race([serving, leadership.watch(term.signal), ended])
    } finally {
      this.#stopping.signal.removeEventListener('abort', endTerm)
      term.abort()
      this.#service = undefined
      // Without the leadership somebody else may send already: nothing more may arrive from here.
      await service.stop(this.#stopping.signal.aborted ? this.#config.requestTimeoutMs : 0)
    }
  }

  #readiness(): Readiness {
    if (this.#stopping.signal.aborted) return { ready: false, problems: ['stopping'] }
    if (this.#standby) return { ready: true, problems: [] }
    const problems = this.#service?.problems ?? ['starting']
    return { ready: problems.length === 0, problems }
  }
}
