/**
 * One watcher per source: finds the table, moves the horizon, and says which tenants have new rows.
 *
 * States: *resolving* (the table is looked up; while that fails the source is invalid, said once, and
 * tried again every few seconds; a source that went back in time is one of these) → *watching* (how often,
 * pace.ts says).
 * A lost connection drops the pending fences and keeps the horizon, which stays true (I2). So does a change
 * of the table or its sequence: the source is looked up again before the next fence, because a fence on what
 * the table was is open to all that write now.
 *
 * A horizon that stands still is told of beside all this (stall.ts), and a hint of new rows only ends a wait
 * early (notifications.ts): neither is needed for anything here.
 */
import { Bell, sleep } from '../clock.ts'
import { type Availability, errorCode, isAboutPolicy, isCancelled, isTransient } from '../db/availability.ts'
import type { SourceSql } from '../db/client.ts'
import { SourceError, SourceRewoundError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import { resolveSource } from './catalog.ts'
import type { Diagnosis } from './diagnosis.ts'
import { FirstRows } from './first-rows.ts'
import { type Follower, follow, type Sight } from './follower.ts'
import { Pace } from './pace.ts'
import type { Position } from './position.ts'
import { anybody, type NewRows, type Oldest, Reader } from './reader.ts'
import type { Anchor, Memory, Trace } from './rewind.ts'
import type { Source, SourceDefinition } from './source.ts'
import { type StallPolicy, StallWatch, stallPolicy } from './stall.ts'

export interface WatcherDeps {
  readonly sql: SourceSql
  readonly availability: Availability
  readonly log: Log
  readonly pollIntervalMs: number
  readonly diagnosis: Diagnosis
  /** The first row of the table is also told as it was this long ago. */
  readonly lookBackMs: number
  /** Of the pages that are read; none by default. */
  readonly tracing?: Tracing
  /** When to say that the horizon stands still; by default as `stallPolicy` says. */
  readonly stall?: StallPolicy
  /** How far the source was read by former runs. */
  recall(definition: SourceDefinition): Promise<Memory>
  /** For the next run; it must not fail the reading. */
  remember(definition: SourceDefinition, horizon: Position, trace: Trace): Promise<void>
  /** Rows lie between the old and the new horizon. */
  onRows(logType: string, rows: NewRows): void
  /** The horizon is known for the first time, or again after the source was invalid. */
  onReady(logType: string): void
  /** Nothing is known any more of what lies after the cursors: it has to be read again. */
  onReread(logType: string): void
  /** Whether the table has the trigger that tells of its rows: when that is known, and when it changes. */
  onHinted(logType: string, hinted: boolean): void
}

const retryInvalidMs = 5_000
/** The first time: a table may be in the middle of being replaced. */
const retrySoonMs = 500
/** What is remembered only has to be recent. */
const rememberEveryMs = 1_000

type Seen = Extract<Sight, { kind: 'seen' }>

export class Watcher {
  readonly definition: SourceDefinition
  readonly #deps: WatcherDeps
  readonly #stall: StallWatch
  readonly #firstRows: FirstRows
  /** Ends the wait between two looks. */
  readonly #bell = new Bell()
  #pace: Pace | undefined
  #hinted = false
  #reader: Reader | undefined
  #horizon: Position | undefined
  /** Up to where rows have been told of. */
  #told: Position | undefined
  #oldest: Oldest
  #trace: Trace | undefined
  #anchor: { readonly at: Position; readonly row: Anchor | null } | undefined
  #remembered: { readonly text: string; readonly at: number } | undefined
  #problem: string | undefined
  /** When a look was last completed, or the source found to be none to look at; monotonic milliseconds. */
  #movedAt = performance.now()
  #rewinds = 0
  /** Whether `onReady` was called since the source was looked up. */
  #ready = false
  /** What lies after the cursors has to be read again. */
  #reread = false
  #lookedAt: number | undefined

  /** `problem`: what was last said to be wrong with the source, by a watcher of its former registration. */
  constructor(definition: SourceDefinition, deps: WatcherDeps, problem?: string) {
    this.definition = definition
    this.#deps = deps
    this.#problem = problem
    this.#firstRows = new FirstRows(deps.lookBackMs)
    const { log, diagnosis, stall: policy = stallPolicy } = deps
    const now = () => performance.now()
    this.#stall = new StallWatch({ logType: definition.logType, log, diagnosis, policy, now })
  }

  /** Undefined while the source is invalid or not looked at yet. */
  get reader(): Reader | undefined {
    return this.#reader
  }

  get horizon(): Position | undefined {
    return this.#horizon
  }

  /** The first row of the table when it was last looked at. */
  get oldest(): Oldest {
    return this.#oldest
  }

  /** The first row some time ago, or when a former run of the daemon last looked; without one, at the first look. */
  get formerOldest(): Oldest {
    return this.#firstRows.former
  }

  /** How often it was found to have gone back in time. */
  get rewinds(): number {
    return this.#rewinds
  }

  /** Why the source cannot be read, while it cannot. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** How long it has completed no look. A source that is invalid is looked up again and again, which counts. */
  get stillMs(): number {
    return performance.now() - this.#movedAt
  }

  /** When it was last looked at, in epoch milliseconds. */
  get lookedAt(): number | undefined {
    return this.#lookedAt
  }

  get stalledForMs(): number {
    return this.#stall.stalledForMs
  }

  /** There may be new rows: it looks at once, whenever that was. */
  hint(): void {
    this.#pace?.hint()
    this.#bell.ring()
  }

  async run(signal: AbortSignal): Promise<void> {
    const wake = () => this.#bell.ring()
    signal.addEventListener('abort', wake, { once: true })
    try {
      await this.#keepWatching(signal)
    } finally {
      signal.removeEventListener('abort', wake)
      this.#stall.stop()
      this.#tellHinted(false)
    }
  }

  async #keepWatching(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#watch(signal)
      } catch (error) {
        if (signal.aborted) return
        // A server that crashed may have taken transactions back.
        this.#reread = this.definition.ordering === 'xact'
        if (isTransient(error)) {
          this.#deps.availability.reportDown(error)
          await sleep(200, signal)
        } else {
          await sleep(await this.#reportInvalid(error), signal)
        }
      }
    }
  }

  /** Until the source has to be looked up again. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { sql, pollIntervalMs, tracing } = this.#deps
    const source = await resolveSource(sql, this.definition)
    const reader = new Reader(sql, source, tracing)
    const memory = await this.#recall()
    const follower = follow({ sql, source, reader, memory })
    this.#told = memory.horizon
    this.#ready = false
    const pace = new Pace(pollIntervalMs, performance.now())
    this.#pace = pace
    while (!signal.aborted) {
      const waitMs = pace.waitMs(performance.now(), follower.pending)
      if (waitMs > 0) {
        await this.#bell.wait(waitMs)
        continue
      }
      const takeFence = pace.begin(performance.now())
      this.#stall.looks({ source, reader })
      const moved = await this.#look(source, reader, follower, takeFence).finally(() => this.#stall.looked())
      this.#movedAt = performance.now()
      if (moved === undefined) return
      pace.end(performance.now(), takeFence, moved)
    }
  }

  /** Whether the horizon moved; undefined when the source has to be looked up again. */
  async #look(
    source: Source,
    reader: Reader,
    follower: Follower,
    takeFence: boolean,
  ): Promise<boolean | undefined> {
    const sight = await follower.look(takeFence)
    this.#deps.availability.reportUp()
    this.#lookedAt = Date.now()
    if (sight.kind !== 'seen') {
      this.#reread ||= sight.kind === 'anew'
      return undefined
    }
    if (!this.#ready) this.#begin(source, reader)
    this.#tellHinted(sight.hinted)
    await this.#take(source, follower, sight)
    const { position: horizon, pending, mayWait, heldBy } = follower
    const waiting = pending || (mayWait ? undefined : false)
    this.#stall.seen({ horizon, waiting, heldBy }, { source, reader })
    return sight.moved
  }

  #tellHinted(hinted: boolean): void {
    if (this.#hinted === hinted) return
    this.#hinted = hinted
    this.#deps.onHinted(this.definition.logType, hinted)
  }

  #begin(source: Source, reader: Reader): void {
    const { log } = this.#deps
    const { logType, ordering } = this.definition
    if (this.#problem !== undefined) {
      this.#problem = undefined
      log.emit('source.recovered', { log_type: logType, relation: source.relation })
    } else if (this.#reader === undefined) {
      log.emit('source.started', {
        log_type: logType,
        relation: source.relation,
        ordering,
        fence: source.fence,
      })
    }
    this.#reader = reader
  }

  /** Takes over a moved horizon and tells of the rows it passed. */
  async #take(source: Source, follower: Follower, { oldest, lastDrawn }: Seen): Promise<void> {
    const { logType } = this.definition
    const told = this.#told
    this.#horizon = follower.position
    this.#oldest = oldest
    this.#firstRows.seen(oldest, performance.now())
    if (this.#horizon === undefined) return
    if (this.#reread) {
      this.#reread = false
      this.#deps.onReread(logType)
    }
    if (!this.#ready) {
      this.#ready = true
      this.#deps.onReady(logType)
    }
    if (told !== this.#horizon) {
      const rows = await this.#rowsBetween(told, this.#horizon)
      if (rows !== null) this.#deps.onRows(logType, rows)
      this.#told = this.#horizon
    }
    this.#trace = {
      cluster: source.cluster,
      incarnation: source.incarnation,
      parts: source.parts.map(({ oid }) => oid),
      lastDrawn,
      anchor: this.#anchor?.row,
      oldest,
    }
    await this.#remember(this.#horizon, this.#trace)
  }

  /** Null when there are none. */
  async #rowsBetween(after: Position | undefined, upTo: Position): Promise<NewRows | null> {
    if (after === undefined || this.#reader === undefined) return anybody
    try {
      return await this.#reader.newRows({ after, upTo })
    } catch (error) {
      // It takes longer than the role is allowed: each looks for itself.
      if (isCancelled(error)) return anybody
      throw error
    }
  }

  /** What this run knows is newer than what it stored. */
  async #recall(): Promise<Memory> {
    const stored = await this.#deps.recall(this.definition)
    if (this.#trace === undefined) this.#firstRows.recalled(stored.trace?.oldest)
    // A stored horizon that no cursor goes by may be of a former life of the table.
    const horizon = this.#horizon ?? (stored.cursor === undefined ? undefined : stored.horizon)
    return { cursor: stored.cursor, horizon, trace: this.#trace ?? stored.trace }
  }

  async #remember(horizon: Position, trace: Trace): Promise<void> {
    const at = performance.now()
    const isDue = this.#remembered === undefined || at - this.#remembered.at >= rememberEveryMs
    // What was read last must be vouched for at once: a failover may take just that back. And a row that
    // retention has deleted must not be missed after the next one.
    if (isDue || this.#anchor?.at !== horizon) {
      this.#anchor = { at: horizon, row: (await this.#reader?.anchor(horizon)) ?? null }
    }
    const known = { ...trace, anchor: this.#anchor?.row }
    this.#trace = known
    if (!isDue) return
    const text = JSON.stringify([horizon, known])
    const isNews = this.#remembered?.text !== text
    this.#remembered = { text, at }
    if (!isNews) return
    await this.#deps.remember(this.definition, horizon, known)
  }

  /** Says it once. Returns how long to wait until it is looked at again, in milliseconds. */
  async #reportInvalid(error: unknown): Promise<number> {
    this.#reader = undefined
    this.#movedAt = performance.now()
    const { logType, relation } = this.definition
    const { message, hint } = describe(error, logType)
    const rewound = error instanceof SourceRewoundError
    if (rewound) {
      // From now on only what is stored counts: a rebase changes it. So what this run has seen is stored first, or the next
      // look might find nothing wrong.
      if (this.#horizon !== undefined && this.#trace) {
        await this.#deps.remember(this.definition, this.#horizon, this.#trace)
      }
      this.#rewinds += 1
      this.#horizon = undefined
      this.#trace = undefined
      this.#anchor = undefined
      this.#remembered = undefined
      const { cursor } = await this.#deps.recall(this.definition)
      // Nobody has read the source yet: it does not matter what it did.
      if (cursor === undefined) return 0
    }
    if (this.#problem === message) return retryInvalidMs
    this.#problem = message
    if (rewound)
      this.#deps.log.emit('source.rewound', { log_type: logType, relation, problem: message, hint })
    else this.#deps.log.emit('source.invalid', { log_type: logType, problem: message, hint })
    return retrySoonMs
  }
}

function describe(error: unknown, logType: string): { message: string; hint: string } {
  if (error instanceof SourceError) return { message: error.message, hint: error.hint }
  const message = error instanceof Error ? error.message : String(error)
  if (errorCode(error) === '42501') {
    return {
      message: `source ${logType}: ${message}`,
      hint: isAboutPolicy(error)
        ? 'No policy may apply to the role, or rows would be hidden and lost: ALTER ROLE … BYPASSRLS.'
        : "GRANT SELECT on the table to the daemon's role.",
    }
  }
  return {
    message: `source ${logType}: ${message}`,
    hint: 'Compare the row in spillway.sources with the table.',
  }
}
