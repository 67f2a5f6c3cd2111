/**
 * All destinations and their forwarders. A row becomes a forwarder, or `invalid` with every bad field
 * named; an edit stops the old forwarder before the new one reads the cursors, so that no settled batch is
 * lost or repeated. Work on one destination is done in the order of its changes and holds up no other.
 */
import { DestinationConfigError, type HttpClient } from '../../providers/provider.ts'
import { type Clock, sleep } from '../clock.ts'
import type { Availability } from '../db/availability.ts'
import {
  type Destination,
  type DestinationRow,
  type DestinationRules,
  parseDestination,
} from '../destinations/destination.ts'
import { LeaseLostError } from '../errors.ts'
import type { Floor } from '../sources/floors.ts'
import type { NewRows, Oldest } from '../sources/reader.ts'
import type { Log } from '../telemetry/log.ts'
import type { Tracing } from '../telemetry/tracing.ts'
import { type Health, healthy } from './decide.ts'
import { Forwarder } from './forwarder.ts'
import type { Lanes } from './lanes.ts'
import { RateLimit, smoothBatchSize } from './rate-limit.ts'
import { Reporter } from './reporter.ts'
import { findStart } from './start.ts'
import type { Cursor, DeliveryStore, DestinationState } from './store.ts'
import { Stream } from './stream.ts'
import type { SourceView } from './stream-source.ts'

export interface FleetDeps {
  readonly store: DeliveryStore
  readonly availability: Availability
  readonly sourceAvailability: Availability
  readonly lanes: Lanes
  readonly clock: Clock
  readonly log: Log
  readonly http: HttpClient
  readonly tracing: Tracing
  readonly requestTimeoutMs: number
  readonly backoffScheduleMs: readonly number[]
  readonly random: () => number
  /** What rows are judged against, at this moment. */
  rules(): DestinationRules
  source(logType: string): SourceView
  /** Where "now" begins for rows that are taken up at this moment, by log type. */
  floors(): ReadonlyMap<string, Floor>
  /** Many destinations started at once: find out together which of them have something to send. */
  requestScan(): void
}

interface Member {
  row: DestinationRow
  /** Of when the row came, or was last edited. */
  floors: ReadonlyMap<string, Floor>
  forwarder?: Forwarder
  /** It had a forwarder in this run. */
  started?: true
  /** What was last said of an invalid row, so that it is said once. */
  problem?: string
  /** Changes are worked off one after the other. */
  work: Promise<void>
}

/** A batch that is on its way when its destination is edited has this long to arrive. */
const editGraceMs = 500
const loadChunk = 1_000
/** Up to this many, each destination looks for its rows itself when it starts. */
const fewDestinations = 20
const pauseAfterLossMs = 1_000

export class Fleet {
  readonly #deps: FleetDeps
  readonly #members = new Map<number, Member>()
  readonly #stopping = new AbortController()

  constructor(deps: FleetDeps) {
    this.#deps = deps
  }

  get size(): number {
    return this.#members.size
  }

  /** Of destinations that are being delivered to. */
  get forwarders(): Forwarder[] {
    return [...this.#members.values()].flatMap(({ forwarder }) => forwarder ?? [])
  }

  /** Destinations that are disabled or invalid. */
  get unserved(): number[] {
    return [...this.#members].flatMap(([id, { row, problem }]) =>
      !row.enabled || problem !== undefined ? [id] : [],
    )
  }

  /** As it is delivered to at the moment. */
  destination(id: number): Destination | undefined {
    return this.#members.get(id)?.forwarder?.destination
  }

  /** What a destination may be sent, shared by all who send to it. */
  rate(id: number): RateLimit | undefined {
    return this.#members.get(id)?.forwarder?.rate
  }

  /** New and edited rows. Resolves when all have been judged; each starts as soon as it can, on its own. */
  async apply(rows: readonly DestinationRow[]): Promise<void> {
    const fresh: Member[] = []
    const floors = this.#deps.floors()
    for (const row of rows) {
      const member = this.#members.get(row.id)
      if (member) {
        this.#edit(member, row, floors)
      } else {
        const added: Member = { row, floors, work: Promise.resolve() }
        this.#members.set(row.id, added)
        fresh.push(added)
      }
    }
    for (let index = 0; index < fresh.length; index += loadChunk) {
      await this.#startAll(fresh.slice(index, index + loadChunk), true)
    }
  }

  async remove(ids: readonly number[]): Promise<void> {
    for (const id of ids) {
      const member = this.#members.get(id)
      if (!member) continue
      this.#members.delete(id)
      this.#then(member, async () => {
        await this.#halt(member)
        this.#deps.log.emit('destination.removed', describe(member.row))
      })
    }
  }

  /** Sources have changed: rows that were invalid may be valid now, and the other way round. */
  rejudge(changedLogTypes: ReadonlySet<string>): void {
    for (const member of this.#members.values()) {
      const concerned = member.row.logTypes.some((logType) => changedLogTypes.has(logType))
      if (concerned) this.#then(member, () => this.#restart(member))
    }
  }

  /** Rows have come. */
  wake(logType: string, { orgs, first }: NewRows): void {
    for (const { row, forwarder } of this.#members.values()) {
      const own = row.orgId === null ? first : orgs?.get(row.orgId)
      if (orgs && row.orgId !== null && own === undefined) continue
      forwarder?.wake(logType, own)
    }
  }

  /** What streams know of the rows beyond their cursors is not true any more. */
  reread(logType: string): void {
    for (const { forwarder } of this.#members.values()) forwarder?.reread(logType)
  }

  /**
   * A source can be read from now on: streams that waited for it go on, and those that had no cursor yet,
   * because there was no place to start from, get one.
   */
  sourceReady(logType: string): void {
    for (const member of this.#members.values()) {
      const { forwarder } = member
      if (!forwarder?.destination.logTypes.includes(logType)) continue
      if (forwarder.streams.some((stream) => stream.logType === logType)) forwarder.look()
      else this.#then(member, () => this.#openMissing(member, forwarder, logType))
    }
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort()
    await Promise.all(
      [...this.#members.values()].map(async (member) => {
        await Promise.all([member.forwarder?.stop(graceMs), member.work])
        // The change that was being worked off may have started another one.
        await member.forwarder?.stop(graceMs)
      }),
    )
  }

  /**
   * Leaves the cursors where there is nothing more for them. A forwarder that begins a turn at the same moment
   * finds its cursor moved, and begins anew.
   */
  async leaveCursors(): Promise<void> {
    const moves = this.forwarders.flatMap(({ idleMoves }) => idleMoves)
    for (let index = 0; index < moves.length; index += loadChunk) {
      await this.#deps.store.advance(moves.slice(index, index + loadChunk))
    }
  }

  #edit(member: Member, row: DestinationRow, floors: ReadonlyMap<string, Floor>): void {
    this.#then(member, async () => {
      const before = member.row
      member.row = row
      member.floors = floors
      await this.#restart(member)
      const { log } = this.#deps
      if (before.enabled && !row.enabled) log.emit('destination.disabled', describe(row))
      else if (!before.enabled && row.enabled) log.emit('destination.enabled', describe(row))
      else if (member.forwarder) {
        log.emit('destination.changed', { ...describe(row), changed: changedColumns(before, row) })
      }
    })
  }

  async #restart(member: Member): Promise<void> {
    await this.#halt(member)
    if (this.#members.get(member.row.id) === member) await this.#startAll([member], false)
  }

  async #halt(member: Member): Promise<void> {
    const { forwarder } = member
    delete member.forwarder
    await forwarder?.stop(editGraceMs)
    const moves = forwarder?.idleMoves ?? []
    if (moves.length > 0) await this.#retry(() => this.#deps.store.advance(moves))
  }

  /** Judges rows and loads what is stored of them together; each is then started on its own. */
  async #startAll(members: readonly Member[], added: boolean): Promise<void> {
    const usable: { member: Member; destination: Destination }[] = []
    for (const member of members) {
      const destination = member.row.enabled ? await this.#judge(member) : undefined
      if (destination) usable.push({ member, destination })
    }
    if (usable.length === 0 || this.#stopping.signal.aborted) return
    const ids = usable.map(({ destination }) => destination.id)
    const states = await this.#retry(() => this.#deps.store.load(ids))
    const few = usable.length <= fewDestinations
    for (const { member, destination } of usable) {
      // Without a state the row was deleted in the meantime; the next poll says so.
      const state = states.get(destination.id)
      if (!state || this.#stopping.signal.aborted) continue
      if (added) {
        this.#deps.log.emit('destination.added', {
          ...describe(member.row),
          log_types: destination.logTypes,
          start_from: member.row.startFrom,
        })
      }
      this.#start(member, destination, state)
      if (few) member.forwarder?.wakeAll()
    }
    if (!few) this.#deps.requestScan()
  }

  /** Undefined when the row cannot be used; that is written down and said once. */
  async #judge(member: Member): Promise<Destination | undefined> {
    const { row } = member
    try {
      const destination = parseDestination(row, this.#deps.rules())
      delete member.problem
      return destination
    } catch (thrown) {
      const error = asConfigError(thrown)
      if (error !== thrown) this.#deps.log.emit('destination.error', { ...describe(row), error: thrown })
      await this.#retry(() => this.#deps.store.markInvalid(row.id, row.revision, error.message))
      if (member.problem !== error.message) {
        member.problem = error.message
        this.#deps.log.emit('destination.invalid', {
          ...describe(row),
          problems: error.fields.map(({ field, problem }) => `${field}: ${problem}`),
        })
      }
      return undefined
    }
  }

  #start(member: Member, destination: Destination, state: DestinationState): void {
    const { clock, http, log, requestTimeoutMs } = this.#deps
    const sender = destination.configured.open({ http, now: clock.now.bind(clock), requestTimeoutMs })
    const forwarder = new Forwarder(destination, usableHealth(state.health), sender, {
      ...this.#deps,
      reporter: new Reporter(log, clock, destination),
      rate: new RateLimit(destination.delivery, clock),
      onLost: () => this.#lost(member, forwarder),
    })
    member.forwarder = forwarder
    // What an earlier stream of this run has seen is in the cursor: see `idleMoves`.
    const takesOver = member.started === true
    member.started = true
    const oldestBefore = (source: SourceView) => () => (takesOver ? undefined : source.oldestAtStart)
    for (const logType of destination.logTypes) {
      const cursor = state.cursors.get(logType)
      if (cursor) this.#openStream(forwarder, logType, cursor, oldestBefore(this.#deps.source(logType)))
      // Finding the start of a cursor may take its time, or wait for the source: nobody else's.
      else this.#then(member, () => this.#openMissing(member, forwarder, logType))
    }
    if (state.invalid)
      this.#then(member, () => this.#retry(() => this.#deps.store.markUsable(destination.id)))
    forwarder.start()
  }

  /** A cursor that the database could not start is started here, once the source can be read. */
  async #openMissing(member: Member, forwarder: Forwarder, logType: string): Promise<void> {
    const { reader, horizon, life } = this.#deps.source(logType)
    const floor = member.floors.get(logType)
    const open = forwarder.streams.some((stream) => stream.logType === logType)
    if (member.forwarder !== forwarder || open || !reader || horizon === undefined) return
    const { destination } = forwarder
    const position = await this.#deps.sourceAvailability.retry(
      () => findStart(destination, reader, horizon, floor?.life === life ? floor : undefined),
      this.#stopping.signal,
    )
    const cursor = await this.#retry(() => this.#deps.store.seed(destination.id, logType, position))
    const { oldest } = this.#deps.source(logType)
    this.#openStream(forwarder, logType, cursor, () => oldest)
    forwarder.wake(logType)
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
        oldestBefore,
      }),
    )
  }

  /** Somebody else moved the cursor: begin anew from what is stored, unless the row is gone by then. */
  #lost(member: Member, forwarder: Forwarder): void {
    this.#then(member, async () => {
      await sleep(pauseAfterLossMs, this.#stopping.signal)
      if (member.forwarder === forwarder) await this.#restart(member)
    })
  }

  #then(member: Member, work: () => Promise<void>): void {
    member.work = member.work
      .then(async () => {
        if (!this.#stopping.signal.aborted) await work()
      })
      .catch((error) => {
        // Deleted while it was being worked on; the next poll says so.
        if (this.#stopping.signal.aborted || error instanceof LeaseLostError) return
        this.#deps.log.emit('destination.error', { ...describe(member.row), error })
      })
  }

  #retry<T>(work: () => Promise<T>): Promise<T> {
    return this.#deps.availability.retry(work, this.#stopping.signal)
  }
}

/** Whatever a row does to its parsing, it is the row that is at fault, and the others run on. */
function asConfigError(error: unknown): DestinationConfigError {
  if (error instanceof DestinationConfigError) return error
  return new DestinationConfigError([
    { field: 'destination', problem: 'cannot be read; the log has the error (destination.error)' },
  ])
}

function usableHealth(health: Health): Health {
  return health.status === 'disabled' ? { ...healthy, firstFailedAt: health.firstFailedAt } : health
}

function describe(row: DestinationRow) {
  return { destination_id: row.id, name: row.name, type: row.type, org: row.orgId }
}

const columnNames = {
  orgId: 'org_id',
  name: 'name',
  type: 'type',
  config: 'config',
  logTypes: 'log_types',
  startFrom: 'start_from',
  filter: 'filter',
  redaction: 'redaction',
  delivery: 'delivery',
} as const satisfies Partial<Record<keyof DestinationRow, string>>

function changedColumns(before: DestinationRow, after: DestinationRow): string[] {
  return Object.entries(columnNames).flatMap(([key, column]) => {
    const field = key as keyof typeof columnNames // Object.entries forgets the keys' type
    return JSON.stringify(before[field]) === JSON.stringify(after[field]) ? [] : [column]
  })
}
