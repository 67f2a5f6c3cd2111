/**
 * One watcher per source: finds the table, moves the horizon, and says which tenants have new rows.
 *
 * States: *resolving* (the table is looked up; while that fails the source is invalid, said once, and
 * tried again every few seconds) → *watching* (a fence every poll interval; while fences are pending the
 * lock table is looked at much more often, but no new fence is taken, so that batches do not shrink).
 * A lost connection drops the pending fences and keeps the horizon, which stays true (I2). So does a change
 * of the table or its sequence: the source is looked up again before the next fence, because a fence on what
 * the table was is open to all that write now.
 */
import { sleep } from '../clock.ts'
import { type Availability, errorCode, isTransient } from '../db/availability.ts'
import type { SourceSql } from '../db/client.ts'
import { SourceError } from '../errors.ts'
import { quoteIdentifier } from '../events/columns.ts'
import type { Log } from '../telemetry/log.ts'
import { fingerprintExpression, resolveSource } from './catalog.ts'
import { type Holder, Horizon, type Observation } from './horizon.ts'
import { comparePositions, distance, origin, type Position } from './position.ts'
import { Reader } from './reader.ts'
import type { Source, SourceDefinition } from './source.ts'

export interface WatcherDeps {
  readonly sql: SourceSql
  readonly availability: Availability
  readonly log: Log
  readonly pollIntervalMs: number
  /** A horizon that a former run stored. */
  loadHorizon(logType: string): Promise<Position | undefined>
  /** A hint for the next run: it must not fail the reading. */
  saveHorizon(definition: SourceDefinition, horizon: Position): Promise<void>
  /** Rows lie between the old and the new horizon; `orgs` undefined means any tenant's. */
  onRows(logType: string, orgs: ReadonlySet<string | null> | undefined): void
  /** The horizon is known for the first time, or again after the source was invalid. */
  onReady(logType: string): void
}

const retryInvalidMs = 5_000
/** Looking at pending fences: soon, then less often, since a writer that stays may stay for hours. */
const firstFenceCheckMs = 5
const slowestFenceCheckMs = 250
/** Beyond this many positions at once, asking which tenants have rows costs more than waking them all. */
const maxDistinctDistance = 50_000
/** The stored horizon only has to be recent. */
const saveEveryMs = 1_000

export class Watcher {
  readonly definition: SourceDefinition
  readonly #deps: WatcherDeps
  #reader: Reader | undefined
  #horizon: Horizon | undefined
  #saved: { position: Position; at: number } | undefined
  #problem: string | undefined
  /** Whether `onReady` was called since the source was looked up. */
  #ready = false

  constructor(definition: SourceDefinition, deps: WatcherDeps) {
    this.definition = definition
    this.#deps = deps
  }

  /** Undefined while the source is invalid or not looked at yet. */
  get reader(): Reader | undefined {
    return this.#reader
  }

  get horizon(): Position | undefined {
    return this.#horizon?.position
  }

  /** Why the source cannot be read, while it cannot. */
  get problem(): string | undefined {
    return this.#problem
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#watch(signal)
      } catch (error) {
        if (signal.aborted) return
        this.#horizon?.reset()
        if (isTransient(error)) {
          this.#deps.availability.reportDown(error)
          await sleep(200, signal)
        } else {
          this.#reportInvalid(error)
          await sleep(retryInvalidMs, signal)
        }
      }
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { sql, pollIntervalMs, availability, log } = this.#deps
    const { logType } = this.definition
    const source = await resolveSource(sql, this.definition)
    const observe = observer(sql, source)
    const first = await observe()
    availability.reportUp()
    if (first.fingerprint !== source.fingerprint) return
    this.#horizon ??= new Horizon(await this.#storedHorizon(first.highest))
    this.#reader = new Reader(sql, source)
    if (this.#problem !== undefined) {
      this.#problem = undefined
      log.emit('source.recovered', { log_type: logType, relation: source.relation })
    } else {
      log.emit('source.started', {
        log_type: logType,
        relation: source.relation,
        ordering: this.definition.ordering,
        fence: source.fence,
      })
    }
    this.#ready = false
    await this.#take(first, true)
    let fenceCheckMs = firstFenceCheckMs
    let nextFenceAt = performance.now() + pollIntervalMs
    while (!signal.aborted) {
      const untilFenceMs = nextFenceAt - performance.now()
      const waitMs = this.#horizon.pending ? Math.min(fenceCheckMs, untilFenceMs) : untilFenceMs
      await sleep(Math.max(waitMs, 0), signal)
      if (signal.aborted) return
      const takeFence = performance.now() >= nextFenceAt
      const observation = await observe()
      availability.reportUp()
      if (observation.fingerprint !== source.fingerprint) return this.#horizon.reset()
      const moved = await this.#take(observation, takeFence)
      fenceCheckMs = moved || takeFence ? firstFenceCheckMs : Math.min(fenceCheckMs * 2, slowestFenceCheckMs)
      if (takeFence) nextFenceAt = performance.now() + pollIntervalMs
    }
  }

  /** Moves the horizon and tells of the rows it passed. */
  async #take(observation: Observation, takeFence: boolean): Promise<boolean> {
    const horizon = this.#horizon
    if (!horizon) return false
    const before = horizon.position
    const moved = horizon.observe(observation, takeFence)
    if (horizon.position !== undefined && !this.#ready) {
      this.#ready = true
      this.#deps.onReady(this.definition.logType)
    }
    if (horizon.position !== undefined) await this.#save(horizon.position)
    if (!moved || horizon.position === undefined) return false
    const orgs = await this.#orgsBetween(before, horizon.position)
    if (orgs === undefined || orgs.size > 0) this.#deps.onRows(this.definition.logType, orgs)
    return true
  }

  async #orgsBetween(
    after: Position | undefined,
    upTo: Position,
  ): Promise<ReadonlySet<string | null> | undefined> {
    if (after === undefined || this.#reader === undefined || this.definition.orgColumn === null)
      return undefined
    if (distance(after, upTo) > maxDistinctDistance) return undefined
    return new Set(await this.#reader.orgs({ after, upTo }))
  }

  /** A stored horizon above the highest row belongs to another life of the table. */
  async #storedHorizon(highest: Position): Promise<Position | undefined> {
    const stored = await this.#deps.loadHorizon(this.definition.logType)
    return stored !== undefined && comparePositions(stored, highest) <= 0 ? stored : undefined
  }

  async #save(position: Position): Promise<void> {
    const at = performance.now()
    if (this.#saved && (position === this.#saved.position || at - this.#saved.at < saveEveryMs)) return
    this.#saved = { position, at }
    await this.#deps.saveHorizon(this.definition, position)
  }

  #reportInvalid(error: unknown): void {
    this.#reader = undefined
    const { message, hint } = describe(error, this.definition.logType)
    if (this.#problem === message) return
    this.#problem = message
    this.#deps.log.emit('source.invalid', { log_type: this.definition.logType, problem: message, hint })
  }
}

function describe(error: unknown, logType: string): { message: string; hint: string } {
  if (error instanceof SourceError) return { message: error.message, hint: error.hint }
  const message = error instanceof Error ? error.message : String(error)
  if (errorCode(error) === '42501') {
    return {
      message: `source ${logType}: ${message}`,
      hint: "GRANT SELECT on the table to the daemon's role.",
    }
  }
  return {
    message: `source ${logType}: ${message}`,
    hint: 'Compare the row in spillway.sources with the table.',
  }
}

type WatchedObservation = Observation & { readonly fingerprint: string }

interface ObservationRow {
  readonly highest: string | null
  readonly holders: string | null
  readonly fingerprint: string
}

/** The one statement behind a fence: the highest id and who holds the fence's lock (see horizon.ts). */
function observer(sql: SourceSql, source: Source): () => Promise<WatchedObservation> {
  const { relation, idColumn } = source.definition
  const statement = `
    SELECT (SELECT max(t.${quoteIdentifier(idColumn)})::text FROM ${source.relation} t) AS highest,
           (SELECT json_agg(json_build_object('transaction', l.virtualtransaction, 'prepared', l.pid IS NULL))
            FROM pg_locks l
            WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND l.relation IN (${source.fenceRelations.join(', ')}))::text AS holders,
           ${fingerprintExpression({ relation: '$1::text', idColumn: '$2::name' })} AS fingerprint`
  return async () => {
    const [row] = await sql.query<ObservationRow>(statement, [relation, idColumn], { prepare: true })
    return {
      fingerprint: row?.fingerprint ?? '',
      highest: row?.highest ?? origin,
      // PostgreSQL built this text one statement ago.
      holders: row?.holders ? (JSON.parse(row.holders) as Holder[]) : [],
    }
  }
}
