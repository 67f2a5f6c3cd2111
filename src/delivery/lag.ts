/**
 * How far each destination is behind: events that wait for it, and the age of the first one. Every few seconds a
 * pass looks at those of which that may have changed, and writes what has.
 *
 * A destination all of whose streams are idle is not behind, and nobody is asked. Of the others the source is asked
 * for the rows that are new since the last pass, as long as the cursor stands where it stood; so one that fails
 * for hours costs an index probe, and one that has fallen far behind costs nothing. What a pass may ask and
 * write is bounded (I9): when more is due, destinations take turns, and each keeps its figures until its own.
 *
 * A destination whose source cannot be read, or only by scanning it, keeps what it had. Of one that is disabled or
 * invalid nothing is known. Errors are of no consequence: the next pass makes up for them.
 */
import { type Clock, sleep } from '../clock.ts'
import { type Availability, isCancelled, isTransient } from '../db/availability.ts'
import { comparePositions, type Position } from '../sources/position.ts'
import type { Reader } from '../sources/reader.ts'
import type { Scope } from '../sources/selection.ts'
import type { Log } from '../telemetry/log.ts'
import type { Lag } from './fleet-store.ts'

/** A stream, as far as it is asked. */
export interface LaggingStream {
  readonly logType: string
  readonly isIdle: boolean
  /** Up to here nothing waits. */
  readonly emptyTo: Position
  scopeAfter(position: Position): Scope
  readonly source: {
    readonly reader: Pick<Reader, 'backlogs' | 'isOrdered'> | undefined
    readonly horizon: Position | undefined
  }
}

export interface LaggingDestination {
  readonly destination: { readonly id: number; readonly logTypes: readonly string[] }
  readonly streams: readonly LaggingStream[]
}

export interface LagDeps {
  /** Those that are delivered to. */
  destinations(): readonly LaggingDestination[]
  /** The ids of those that are disabled or invalid. */
  unserved(): readonly number[]
  save(lags: readonly Lag[]): Promise<void>
  /** The database's time. */
  readonly clock: Clock
  readonly availability: Pick<Availability, 'reportDown'>
  readonly sourceAvailability: Pick<Availability, 'reportDown'>
  readonly log: Log
}

const passEveryMs = 10_000
/** From here on the figure means "at least": counting on would cost more than it tells. */
export const maxEventsCounted = 10_000
/** Index entries that one pass may read: some tenths of a second of the database's time. */
const maxRowsPerPass = 200_000
/** Streams that one pass may ask the source about: beyond, a fleet that fails would keep the planner busy. */
export const maxProbesPerPass = 500
/** A pass asks nothing more after this: a table of many partitions takes its time for each statement. */
const askForMs = 1_000
/** Rows of `delivery_state` that one pass may write. */
export const maxWritesPerPass = 1_000

/** What is known of a stream's backlog. */
interface Backlog {
  readonly from: Position
  readonly upTo: Position
  readonly count: number
  /** The timestamp of the first event. */
  readonly firstMs: number | undefined
}

interface Probe {
  readonly stream: LaggingStream
  readonly reader: Pick<Reader, 'backlogs'>
  readonly horizon: Position
  /** What was counted before and is still true. */
  readonly before: Backlog | undefined
}

/** A destination whose turn it is, with what has to be asked for it. */
interface Turn {
  readonly id: number
  readonly streams: readonly LaggingStream[]
  readonly probes: readonly Probe[]
}

type Figures = Omit<Lag, 'destinationId'>

const none: Figures = { events: 0, seconds: 0 }
const unknown: Figures = { events: null, seconds: null }

export class LagMeter {
  readonly #deps: LagDeps
  readonly #backlogs = new WeakMap<LaggingStream, Backlog>()
  /** What was written last. */
  readonly #written = new Map<number, Figures>()
  /** Whose turn comes next. */
  #next = 0
  #erred = false

  constructor(deps: LagDeps) {
    this.#deps = deps
  }

  /** As it is in `delivery_state`, by id. */
  get figures(): ReadonlyMap<number, Figures> {
    return this.#written
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(passEveryMs, signal)
      if (signal.aborted) return
      try {
        await this.runOnce()
        this.#erred = false
      } catch (error) {
        if (signal.aborted) return
        this.#failed(error)
      }
    }
  }

  #failed(error: unknown): void {
    if (isTransient(error)) {
      this.#deps.availability.reportDown(error)
      return
    }
    if (!this.#erred) this.#deps.log.emit('lag.error', { error })
    this.#erred = true
  }

  async runOnce(): Promise<void> {
    const served = this.#inTurn()
    const unserved = this.#deps.unserved()
    this.#forgetOthers([...served.map(({ destination }) => destination.id), ...unserved])
    const lags: Lag[] = []
    const note = (destinationId: number, figures: Figures) => {
      const written = this.#written.get(destinationId)
      const isNew = written?.events !== figures.events || written?.seconds !== figures.seconds
      if (isNew) lags.push({ destinationId, ...figures })
    }
    for (const id of unserved) if (lags.length < maxWritesPerPass) note(id, unknown)
    const turns = this.#turns(served, maxWritesPerPass - lags.length)
    const asked = await this.#ask(turns)
    for (const { id, streams, probes } of turns) {
      if (!probes.every((probe) => asked.has(probe))) continue
      note(id, this.#lagOf(streams))
    }
    if (lags.length === 0) return
    await this.#deps.save(lags)
    for (const { destinationId, events, seconds } of lags) {
      this.#written.set(destinationId, { events, seconds })
    }
  }

  /** All that are delivered to, whose turn it is first. */
  #inTurn(): LaggingDestination[] {
    const sorted = this.#deps.destinations().toSorted((a, b) => a.destination.id - b.destination.id)
    const first = sorted.findIndex(({ destination }) => destination.id >= this.#next)
    return first <= 0 ? sorted : [...sorted.slice(first), ...sorted.slice(0, first)]
  }

  /** Those that this pass looks at; the next one begins with the first that it leaves out. */
  #turns(served: readonly LaggingDestination[], maxTurns: number): Turn[] {
    const turns: Turn[] = []
    let probes = 0
    this.#next = 0
    for (const { destination, streams } of served) {
      // Without a cursor nobody knows what waits.
      if (!destination.logTypes.every((logType) => streams.some((each) => each.logType === logType))) continue
      const isBehind = streams.some(({ isIdle }) => !isIdle)
      const { id } = destination
      if (!isBehind && this.#written.get(id)?.events === 0) continue
      const due = streams.map((stream) => this.#probeOf(stream))
      if (due.includes('unreadable')) continue
      const needed = due.filter((probe) => typeof probe === 'object')
      if (turns.length >= maxTurns || probes + needed.length > maxProbesPerPass) {
        this.#next = id
        break
      }
      probes += needed.length
      turns.push({ id, streams, probes: needed })
    }
    return turns
  }

  /** Undefined where nothing has to be asked. */
  #probeOf(stream: LaggingStream): Probe | 'unreadable' | undefined {
    if (stream.isIdle) return undefined
    const { reader, horizon } = stream.source
    if (reader === undefined || horizon === undefined || !reader.isOrdered) return 'unreadable'
    const { emptyTo } = stream
    if (comparePositions(emptyTo, horizon) >= 0) {
      this.#backlogs.delete(stream)
      return undefined
    }
    const known = this.#backlogs.get(stream)
    const isTrue = known?.from === emptyTo && comparePositions(known.upTo, horizon) <= 0
    const before = isTrue ? known : undefined
    if (before && (before.count >= maxEventsCounted || before.upTo === horizon)) return undefined
    return { stream, reader, horizon, before }
  }

  /** Asks the sources; returns the probes that were answered. */
  async #ask(turns: readonly Turn[]): Promise<Set<Probe>> {
    const answered = new Set<Probe>()
    const bySource = Map.groupBy(
      turns.flatMap(({ probes }) => probes),
      ({ reader }) => reader,
    )
    const { clock } = this.#deps
    const began = clock.monotonic()
    let rowsLeft = maxRowsPerPass
    for (const [reader, probes] of bySource) {
      let next = 0
      while (next < probes.length) {
        const chunk = probes.slice(next, next + Math.floor(rowsLeft / maxEventsCounted))
        if (chunk.length === 0 || clock.monotonic() - began > askForMs) {
          this.#postpone(turns, answered)
          return answered
        }
        next += chunk.length
        const counted = await this.#count(reader, chunk)
        if (counted === undefined) break
        rowsLeft -= counted
        for (const probe of chunk) answered.add(probe)
      }
    }
    return answered
  }

  /** Takes in the answers; returns how many rows were counted, undefined when the source cannot be asked now. */
  async #count(reader: Pick<Reader, 'backlogs'>, probes: readonly Probe[]): Promise<number | undefined> {
    const asked = probes.map(({ stream, horizon, before }) => {
      const { emptyTo: from } = stream
      const range = { after: before?.upTo ?? from, upTo: horizon }
      const limit = maxEventsCounted - (before?.count ?? 0)
      return { from, scope: stream.scopeAfter(range.after), range, limit }
    })
    try {
      const answers = await reader.backlogs(asked)
      for (const [index, { stream, horizon, before }] of probes.entries()) {
        const { count, firstMs } = answers[index] ?? { count: 0, firstMs: undefined }
        this.#backlogs.set(stream, {
          from: asked[index]?.from ?? stream.emptyTo,
          upTo: horizon,
          count: (before?.count ?? 0) + count,
          firstMs: before?.firstMs ?? firstMs,
        })
      }
      return answers.reduce((sum, { count }) => sum + count, 0)
    } catch (error) {
      // Its streams say what is the matter with a source, and to cancel this is the role's good right.
      if (isTransient(error) && !isCancelled(error)) this.#deps.sourceAvailability.reportDown(error)
      return undefined
    }
  }

  /** The next pass begins with the first destination that this one could not finish. */
  #postpone(turns: readonly Turn[], answered: ReadonlySet<Probe>): void {
    const first = turns.find(({ probes }) => probes.some((probe) => !answered.has(probe)))
    if (first) this.#next = first.id
  }

  #lagOf(streams: readonly LaggingStream[]): Figures {
    const backlogs = streams.flatMap((stream) => {
      const known = stream.isIdle ? undefined : this.#backlogs.get(stream)
      // While it was asked, the cursor may have gone on; that is for the next pass.
      return known && known.count > 0 ? [known] : []
    })
    if (backlogs.length === 0) return none
    const ages = backlogs.map(({ firstMs }) => (firstMs === undefined ? 0 : this.#deps.clock.now() - firstMs))
    return {
      events: backlogs.reduce((sum, { count }) => sum + count, 0),
      seconds: Math.max(0, ...ages) / 1_000,
    }
  }

  /** Of those that are another replica's now, it is not known what was written last. */
  #forgetOthers(ids: readonly number[]): void {
    const there = new Set(ids)
    for (const id of this.#written.keys()) if (!there.has(id)) this.#written.delete(id)
  }
}
