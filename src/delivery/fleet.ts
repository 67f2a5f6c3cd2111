/**
 * All destinations, and the forwarders of those whose lease is held here. A row becomes a forwarder, or `invalid` with
 * every bad field named; an edit stops the old forwarder before the new one reads the cursors, so that no settled batch is
 * lost or repeated. Work on one destination is done in the order of its changes and holds up no other.
 * A lease is taken by loading what is stored and opening forwarders (`take`), and given up by ending them (`leave`).
 */
import { DestinationConfigError } from '../../providers/provider.ts'
import { sleep } from '../clock.ts'
import { changedColumns } from '../destinations/changed-columns.ts'
import type { Destination, DestinationRules } from '../destinations/destination.ts'
import type { RegisteredRow } from '../destinations/registry.ts'
import { LeaseLostError } from '../errors.ts'
import type { Floor } from '../sources/floors.ts'
import type { NewRows } from '../sources/reader.ts'
import type { DestinationState, IdleMove } from './fleet-store.ts'
import type { Forwarder } from './forwarder.ts'
import { endInTurn } from './hand-over.ts'
import { describe, judge } from './judge.ts'
import type { Lease } from './lease.ts'
import { Opening, type OpeningDeps } from './opening.ts'
import type { RateLimit } from './rate-limit.ts'

export interface FleetDeps extends OpeningDeps {
  /** The lease of a shard, while its destinations are delivered to from here. */
  lease(shard: number): Lease | undefined
  /** What rows are judged against, at this moment. */
  rules(): DestinationRules
  /** Where "now" begins for rows that are taken up at this moment, by log type. */
  floors(): ReadonlyMap<string, Floor>
  /** Many destinations started at once: find out together which of them have something to send. */
  requestScan(): void
}

interface Member {
  row: RegisteredRow
  /** By log type, of when the row came, or was edited to have it. */
  floors: ReadonlyMap<string, Floor>
  forwarder?: Forwarder
  /** Under which it had a forwarder last. */
  startedUnder?: Lease
  /** What was last said of an invalid row, so that it is said once. */
  problem?: string
  /** Changes are worked off one after the other. */
  work: Promise<void>
  /** How many of them are not done. */
  changes: number
}

/** A batch that is on its way when its destination is edited has this long to arrive. */
const editGraceMs = 500
const loadChunk = 1_000
/** Up to this many, each destination looks for its rows itself when it starts. */
const fewDestinations = 20
const pauseAfterLossMs = 1_000

const isBusy = ({ changes }: Member) => changes > 0

export class Fleet {
  readonly #deps: FleetDeps
  readonly #opening: Opening
  readonly #members = new Map<number, Member>()
  readonly #stopping = new AbortController()
  readonly #onLost = (forwarder: Forwarder) => this.#lost(forwarder)

  constructor(deps: FleetDeps) {
    this.#deps = deps
    this.#opening = new Opening(deps)
  }

  get size(): number {
    return this.#members.size
  }

  /** Of destinations that are being delivered to. */
  get forwarders(): Forwarder[] {
    return [...this.#members.values()].flatMap(({ forwarder }) => forwarder ?? [])
  }

  /** Destinations that are ours and are disabled or invalid. */
  get unserved(): number[] {
    return this.#own
      .filter(({ row, problem }) => !row.enabled || problem !== undefined)
      .map(({ row }) => row.id)
  }

  /** Those that are ours. */
  get ids(): number[] {
    return this.#own.map(({ row }) => row.id)
  }

  get disabled(): number {
    return this.#own.filter(({ row }) => !row.enabled).length
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
  async apply(rows: readonly RegisteredRow[]): Promise<void> {
    const fresh: Member[] = []
    const floors = this.#deps.floors()
    for (const row of rows) {
      const member = this.#members.get(row.id)
      if (member) {
        this.#edit(member, row, floors)
      } else {
        const added: Member = { row, floors, work: Promise.resolve(), changes: 0 }
        this.#members.set(row.id, added)
        fresh.push(added)
      }
    }
    await this.#startTogether(fresh)
  }

  /** The leases of these shards are held from now on. Resolves when their destinations have been judged. */
  async take(shards: ReadonlySet<number>): Promise<void> {
    const taken = [...this.#members.values()].filter(({ row }) => shards.has(row.shard))
    for (const member of taken.filter(isBusy)) this.#then(member, () => this.#restart(member))
    await this.#startTogether(taken.filter((member) => !isBusy(member)))
  }

  /**
   * Ends the forwarders of a shard whose lease is given up, or has ended: there is no lease for it any more.
   * What is on its way has `graceMs` to arrive. Those that wait for nothing go on until slow ones, and `meanwhile`, other
   * work under that lease, have ended. Resolves when nothing is under way and everything is written down.
   */
  async leave(shard: number, graceMs: number, meanwhile: Promise<unknown>): Promise<void> {
    const left = [...this.#members.values()].filter(({ row }) => row.shard === shard)
    const moves = await endInTurn(left, {
      graceMs,
      pace: ({ forwarder }) => forwarder?.pace,
      end: (member, withinMs) => this.#end(member, withinMs),
      meanwhile,
    })
    await this.#advance(moves.flat())
  }

  async remove(ids: readonly number[]): Promise<void> {
    for (const id of ids) {
      const member = this.#members.get(id)
      if (!member) continue
      this.#members.delete(id)
      this.#then(member, async () => {
        await this.#halt(member)
        if (this.#isOurs(member.row)) this.#deps.log.emit('destination.removed', describe(member.row))
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

  get #own(): Member[] {
    return [...this.#members.values()].filter(({ row }) => this.#isOurs(row))
  }

  #isOurs({ shard }: RegisteredRow): boolean {
    return this.#deps.lease(shard) !== undefined
  }

  #edit(member: Member, row: RegisteredRow, floors: ReadonlyMap<string, Floor>): void {
    this.#then(member, async () => {
      const before = member.row
      member.row = row
      // What it had before begins where it would have: perhaps nobody could deliver to it yet.
      const added = [...floors].filter(([each]) => !before.logTypes.includes(each))
      member.floors = new Map([...member.floors, ...added])
      await this.#restart(member)
      if (!this.#isOurs(row)) return
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

  /** Beside each other, a chunk at a time; further changes of each wait for its own. */
  async #startTogether(members: readonly Member[]): Promise<void> {
    for (let index = 0; index < members.length; index += loadChunk) {
      const all = members.slice(index, index + loadChunk)
      // Whoever has come to have work meanwhile starts when that is done, unless it has started by then.
      for (const member of all.filter(isBusy)) this.#then(member, () => this.#startAll([member], true))
      const chunk = all.filter((member) => !isBusy(member))
      const starting = this.#startAll(chunk, true)
      const started = starting.catch(() => {})
      for (const member of chunk) this.#then(member, () => started)
      await starting
    }
  }

  async #end(member: Member, graceMs: number): Promise<IdleMove[]> {
    let moves: IdleMove[] = []
    // Not only when its turn comes.
    const stopped = member.forwarder?.stop(graceMs)
    this.#then(member, async () => {
      moves = await this.#close(member, graceMs)
      delete member.startedUnder
    })
    await Promise.all([stopped, member.work])
    return moves
  }

  async #halt(member: Member): Promise<void> {
    const moves = await this.#close(member, editGraceMs)
    await this.#advance(moves)
  }

  async #advance(moves: readonly IdleMove[]): Promise<void> {
    if (moves.length === 0) return
    await this.#retry(() => this.#deps.store.advance(moves)).catch((error) => {
      if (!(error instanceof LeaseLostError)) throw error
    })
  }

  /** Ends the forwarder; returns how far its cursors can go without an event. */
  async #close(member: Member, graceMs: number): Promise<IdleMove[]> {
    const { forwarder } = member
    delete member.forwarder
    await forwarder?.stop(graceMs)
    return forwarder?.idleMoves ?? []
  }

  /** Judges rows and loads what is stored of them together; each is then started on its own. */
  async #startAll(members: readonly Member[], added: boolean): Promise<void> {
    const usable: { member: Member; destination: Destination; lease: Lease }[] = []
    const rules = this.#deps.rules()
    for (const member of members) {
      const lease = this.#deps.lease(member.row.shard)
      // Two forwarders of one destination would send everything twice.
      if (!lease || !member.row.enabled || member.forwarder) continue
      const destination = this.#judge(member, rules, lease)
      if (destination) usable.push({ member, destination, lease })
    }
    if (usable.length === 0 || this.#stopping.signal.aborted) return
    const ids = usable.map(({ destination }) => destination.id)
    const states = await this.#retry(() => this.#deps.store.load(ids))
    const few = usable.length <= fewDestinations
    for (const { member, destination, lease } of usable) {
      // Without a state the row was deleted in the meantime; the next poll says so.
      const state = states.get(destination.id)
      const isOver = this.#stopping.signal.aborted || this.#deps.lease(member.row.shard) !== lease
      if (!state || isOver) continue
      if (added) {
        this.#deps.log.emit('destination.added', {
          ...describe(member.row),
          log_types: destination.logTypes,
          start_from: member.row.startFrom,
        })
      }
      const forwarder = this.#start(member, destination, state, lease)
      if (few) forwarder.wakeAll()
    }
    if (!few) this.#deps.requestScan()
  }

  /** Undefined when the row cannot be used. That is written down and said once, and nobody waits for it: it may be locked. */
  #judge(member: Member, rules: DestinationRules, lease: Lease): Destination | undefined {
    const { row } = member
    const judged = judge(row, rules, this.#deps.log)
    if (!(judged instanceof DestinationConfigError)) {
      delete member.problem
      return judged
    }
    const { message, fields } = judged
    this.#then(member, async () => {
      const store = this.#deps.store.under(lease)
      await this.#write(row, lease, () => store.markInvalid(row.id, row.revision, message))
      if (member.problem === message) return
      member.problem = message
      const problems = fields.map(({ field, problem }) => `${field}: ${problem}`)
      this.#deps.log.emit('destination.invalid', { ...describe(row), problems })
    })
    return undefined
  }

  #start(member: Member, destination: Destination, state: DestinationState, lease: Lease): Forwarder {
    const again = member.startedUnder === lease
    const forwarder = this.#opening.open(destination, state, { lease, again, onLost: this.#onLost })
    member.forwarder = forwarder
    member.startedUnder = lease
    for (const logType of destination.logTypes) {
      // Finding the start of a cursor may take its time, or wait for the source: nobody else's.
      if (!state.cursors.has(logType)) this.#then(member, () => this.#openMissing(member, forwarder, logType))
    }
    const markUsable = () => forwarder.store.markUsable(destination.id)
    if (state.invalid) this.#then(member, () => this.#write(member.row, lease, markUsable))
    forwarder.start()
    return forwarder
  }

  async #openMissing(member: Member, forwarder: Forwarder, logType: string): Promise<void> {
    const isOpen = forwarder.streams.some((stream) => stream.logType === logType)
    if (member.forwarder !== forwarder || isOpen) return
    const floor = member.floors.get(logType)
    try {
      if (await this.#opening.openMissing(forwarder, logType, floor)) forwarder.wake(logType)
    } catch (error) {
      if (!forwarder.stopping.aborted) throw error
    }
  }

  /** Somebody else moved the cursor: begin anew from what is stored, unless the row is gone by then. */
  #lost(forwarder: Forwarder): void {
    const member = this.#members.get(forwarder.destination.id)
    if (!member) return
    this.#then(member, async () => {
      await sleep(pauseAfterLossMs, forwarder.stopping)
      if (member.forwarder === forwarder) await this.#restart(member)
    })
  }

  #then(member: Member, work: () => Promise<void>): void {
    member.changes += 1
    member.work = member.work
      .then(async () => {
        if (!this.#stopping.signal.aborted) await work()
      })
      .catch((error) => {
        // Deleted while it was being worked on; the next poll says so.
        if (this.#stopping.signal.aborted || error instanceof LeaseLostError) return
        this.#deps.log.emit('destination.error', { ...describe(member.row), error })
      })
      .finally(() => {
        member.changes -= 1
      })
  }

  /** Only while the destination is delivered to under the lease: whoever is next judges for itself. */
  #write(row: RegisteredRow, lease: Lease, write: () => Promise<void>): Promise<void> {
    return this.#retry(async () => {
      if (this.#deps.lease(row.shard) !== lease) throw new LeaseLostError('the lease is given up')
      await write()
    })
  }

  #retry<T>(work: () => Promise<T>): Promise<T> {
    return this.#deps.availability.retry(work, this.#stopping.signal)
  }
}
