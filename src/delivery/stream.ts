/**
 * One destination's events of one log type: what has been read and not yet settled.
 *
 * `position` is the cursor, `frozen` the ends of the batches that are stored beyond it (I4). Beyond those
 * the stream reads pages in (…, horizon] and encodes them as they arrive; from the second page of a turn
 * on, the next one is on its way while the last one is being sent. After a failure `rewind` forgets everything that was read: the frozen ends stay,
 * and the same rows give the same batches.
 */
import type { AuditEvent } from '../../providers/provider.ts'
import { unlessAborted } from '../clock.ts'
import { isCancelled } from '../db/availability.ts'
import { comparePositions, laterOf, type Position, placeBefore } from '../sources/position.ts'
import type { Oldest, Page } from '../sources/reader.ts'
import type { Scope, Stamped } from '../sources/selection.ts'
import { type Batch, type CutRules, cutBatch } from './batch.ts'
import { BatchSize } from './batch-size.ts'
import type { Cursor, Divided } from './cursor.ts'
import { Deletions } from './deletions.ts'
import type { IdleMove } from './fleet-store.ts'
import { HeldItems } from './held-items.ts'
import { type Item, itemOf } from './item.ts'
import type { Seat } from './lanes.ts'
import type { Progress } from './progress.ts'
import type { SourceView, StreamSource } from './stream-source.ts'

export interface StreamOptions<Source extends StreamSource = SourceView> {
  readonly cursor: Cursor
  readonly orgId: string | null
  /** Leaves out other rows too. */
  readonly stamped?: Stamped
  readonly source: Source
  readonly rules: CutRules
  /** What an earlier stream has learnt. */
  readonly size?: BatchSize
  readonly encode: (event: AuditEvent, now: number) => string
  /** The table's first row when the destination was last known to be at work; see `Deletions`. */
  readonly oldestBefore: () => Oldest
  /** Epoch milliseconds. */
  readonly now: () => number
  /** Where reading is reported; without it nobody waits for it. */
  readonly progress?: Progress
}

/** A page, and the horizon it was read up to. */
interface Reading {
  readonly page: Page<Item>
  readonly upTo: Position
}

/** A page holds at most this by the database's count of row bytes; JSON's keys and quotes come on top. */
const maxPageBytes = 8 * 1024 * 1024
/** What a stream asks for first; doubled while pages come back full, so that a short backlog costs little. */
const firstPageBytes = 1024 * 1024
/** Decoding a page must not hold the event loop for long. */
const maxPageRows = 2_000
const assumedRowBytes = 512

export class Stream<Source extends StreamSource = SourceView> {
  readonly logType: string
  /** How many events its next batch has. */
  readonly size: BatchSize
  readonly #options: StreamOptions<Source>
  #position: Position
  /** Ends of batches that are stored beyond the cursor. */
  #frozen: readonly Position[]
  #divided: Divided | undefined
  /** Ends among `#frozen` that are not handed out yet. */
  #bounds: Position[]
  readonly #held = new HeldItems()
  #handedOutTo: Position
  #readTo: Position
  #exhausted = false
  #ahead: Promise<Reading> | undefined
  #pageBytes = firstPageBytes
  #rowBytes = assumedRowBytes
  /** A page that the database cancelled is tried again with a quarter of its rows, down to one. */
  #mostRows = maxPageRows
  #awake = false
  #disabledForMs: number | undefined
  /** Between the cursor and here there was no row of the destination when it was read. */
  #emptyTo: Position
  readonly #deletions: Deletions
  #mustReread = false
  /** Between two turns, with everything settled that was there. */
  #isResting = false
  /** Somebody else has looked since the last turn, and found no row for it. */
  #wasFoundEmpty = false
  /** The first page of a turn is read alone: whether the endpoint answers at all is still to be seen. */
  #readsAhead = false

  constructor(options: StreamOptions<Source>) {
    this.#options = options
    this.logType = options.rules.logType
    this.size = options.size ?? new BatchSize(options.rules.batchSize, options.cursor.frozen)
    this.#position = options.cursor.position
    this.#frozen = options.cursor.frozen
    this.#divided = options.cursor.divided
    this.#bounds = [...options.cursor.frozen]
    this.#handedOutTo = this.#position
    this.#readTo = this.#position
    this.#disabledForMs = options.cursor.disabledForMs
    this.#emptyTo = this.#position
    this.#deletions = new Deletions(options.oldestBefore)
  }

  get position(): Position {
    return this.#position
  }

  /** Which life of the source the cursor belongs to. */
  get life(): string {
    return this.#options.cursor.life
  }

  get frozen(): readonly Position[] {
    return this.#frozen
  }

  get source(): Source {
    return this.#options.source
  }

  /** Whose rows come after `position`. */
  scopeAfter(position: Position): Scope {
    const { orgId, cursor, stamped } = this.#options
    // Past the mark every row is the destination's.
    const start =
      cursor.start && comparePositions(position, cursor.start.until) < 0 ? cursor.start : undefined
    return { orgId, ...(start && { start }), ...(stamped && { stamped }) }
  }

  /** There may be rows to send. */
  get awake(): boolean {
    return this.#awake
  }

  /** `first`: the first of the rows that have come, if it is known which. */
  wake(first?: Position): void {
    this.#awake = true
    this.#deletions.woken(this.#options.source.oldest, first)
  }

  /** The rows beyond the cursor may be others than they were when they were read. */
  reread(): void {
    this.#mustReread = true
    this.#awake = true
  }

  /** Before a turn. */
  begin(): void {
    this.#isResting = false
    this.#wasFoundEmpty = false
    if (!this.#mustReread) return
    this.#mustReread = false
    this.#emptyTo = this.#position
    this.#deletions.forget(this.#options.source.oldest)
    this.rewind()
  }

  /** Up to here there is nothing to send: the cursor may be moved there, unless batches are frozen. */
  get emptyTo(): Position {
    return this.#mustReread ? this.#position : laterOf(this.#position, this.#emptyTo)
  }

  /** At this moment it is known to have nothing to send up to `emptyTo`. */
  get isResting(): boolean {
    return this.#isResting && !this.#awake && !this.#mustReread
  }

  /** Nothing is known to wait for it: at rest, or never at work because nothing was found for it. */
  get isIdle(): boolean {
    return this.isResting || (this.#wasFoundEmpty && !this.#awake && !this.#mustReread)
  }

  /** How far the cursor can go without an event; undefined where it stays. `isStopped`: no turn will begin. */
  idleMove(isStopped: boolean): Omit<IdleMove, 'lease' | 'destinationId'> | undefined {
    const { life, logType, position: from, emptyTo: to } = this
    const isIdle = this.isResting || isStopped
    if (!isIdle || this.#frozen.length > 0 || from === to) return undefined
    return { life, logType, from, to, done: () => this.settled(to, []) }
  }

  /** Somebody else has looked, and found no row for it up to a position that is safe to read. */
  foundEmpty(upTo: Position): void {
    this.#wasFoundEmpty = true
    // A batch that is frozen, and may have been sent, begins at the cursor (I4).
    if (!this.isResting || this.#frozen.length > 0 || comparePositions(upTo, this.#readTo) <= 0) return
    this.#emptyTo = upTo
    this.#readTo = upTo
    this.#handedOutTo = upTo
  }

  /** Up to where rows beyond the cursor may have been deleted unsent; see `Deletions`. */
  deletedUpTo(oldest: Oldest, upTo: Position): Position | undefined {
    this.#deletions.left(this.#firstUnsettled)
    this.#deletions.reads(upTo)
    return this.#deletions.find(this.emptyTo, oldest, upTo)
  }

  /** Ends that are stored beyond what has been handed out. */
  get endsAhead(): readonly Position[] {
    return this.#bounds
  }

  /** The backlog is given up, and with it what was frozen of it. */
  dropEnds(): void {
    this.#bounds = []
    this.#deletions.tookAll()
  }

  /** How long the destination was disabled before, while that has not been judged. */
  get disabledForMs(): number | undefined {
    return this.#disabledForMs
  }

  disabledTimeJudged(): void {
    this.#disabledForMs = undefined
  }

  /** As it is stored. */
  get divided(): Divided | undefined {
    return this.#divided
  }

  /** The cursor has been moved, and this is what is stored beyond it. */
  settled(position: Position, frozen: readonly Position[], divided?: Divided): void {
    this.#position = position
    this.#frozen = frozen
    this.#divided = divided
    this.size.settled(frozen)
  }

  /** Forgets what was read and handed out, to start again from the cursor. */
  rewind(): void {
    this.#deletions.left(this.#firstUnsettled)
    this.#ahead = undefined
    this.#held.clear()
    this.#bounds = [...this.#frozen]
    this.#handedOutTo = this.emptyTo
    this.#readTo = this.emptyTo
    this.#exhausted = false
    this.#pageBytes = firstPageBytes
    this.#readsAhead = false
    this.#awake = true
  }

  /** The end of a turn: keeps nothing in memory. What was read and not handed out is read again, and what was not read is read. */
  rest(): void {
    if (!this.#held.areAllHandedOut || !this.#exhausted) this.rewind()
    else this.#caughtUp()
    this.#readsAhead = false
  }

  #caughtUp(): void {
    this.#held.clear()
    this.#isResting = true
    if (this.#frozen.length > 0) return
    this.#emptyTo = this.#readTo
    this.#handedOutTo = this.#readTo
  }

  /**
   * The next batches, at most `count`: the first as soon as there is one, more only if they need no waiting.
   * Empty when everything up to the horizon has been handed out. `ahead`: only of what has been read or is being read.
   */
  async next(count: number, seat: Seat, signal: AbortSignal, ahead = false): Promise<Batch[]> {
    const batches: Batch[] = []
    const { now } = this.#options
    while (batches.length < count) {
      const bound = this.#bounds[0]
      const rules = { ...this.#options.rules, batchSize: this.size.limit(bound) }
      const cut = cutBatch(this.#held.items, this.#held.next, this.#handedOutTo, bound, rules, now())
      const allRead = bound === undefined ? this.#exhausted : comparePositions(this.#readTo, bound) >= 0
      if (!cut.complete && !allRead) {
        if (batches.length > 0 || (this.#exhausted && !this.#awake) || (ahead && !this.#ahead)) break
        await this.#readPage(seat, signal)
        continue
      }
      if (cut.taken === 0 && bound === undefined) {
        if (!this.#awake || batches.length > 0) break
        await this.#readPage(seat, signal)
        continue
      }
      this.#handOut(cut.batch, cut.taken, bound)
      batches.push(cut.batch)
    }
    return batches
  }

  #handOut(batch: Batch, taken: number, bound: Position | undefined): void {
    this.#held.handOut(taken)
    this.#handedOutTo = batch.to
    if (bound !== undefined && comparePositions(batch.to, bound) >= 0) this.#bounds.shift()
  }

  async #readPage(seat: Seat, signal: AbortSignal): Promise<void> {
    this.#held.drop(this.#position)
    if (!this.#ahead) {
      seat.hold(this.#held.bytes)
      await seat.reserve(this.#pageBytes, signal)
    }
    // Who is called off leaves it to the next one.
    this.#ahead ??= this.#startReading(seat)
    const reading = this.#ahead && (await unlessAborted(this.#ahead, signal))
    this.#ahead = undefined
    if (reading) this.#take(reading)
    else this.#exhausted = true
    seat.hold(this.#held.bytes)
    const ahead = this.#readsAhead && reading?.page.full && !seat.modest
    this.#readsAhead = true
    if (ahead && (await seat.reserve(this.#pageBytes, signal))) {
      this.#ahead = this.#startReading(seat)
      // Whoever waits for it gets the error; if nobody does, it is of no account.
      this.#ahead?.catch(() => {})
    }
  }

  /** Reads the next page up to the horizon; undefined when there is nothing beyond what was read. */
  #startReading(seat: Seat): Promise<Reading> | undefined {
    const { reader, horizon } = this.#options.source
    this.#awake = false
    if (!reader || horizon === undefined) return undefined
    this.#deletions.reads(horizon)
    if (comparePositions(this.#readTo, horizon) >= 0) {
      this.#deletions.tookAll()
      return undefined
    }
    const maxRows = seat.modest ? Math.min(this.#mostRows, this.#options.rules.batchSize) : this.#mostRows
    const rows = Math.max(1, Math.min(maxRows, Math.ceil(this.#pageBytes / this.#rowBytes)))
    const range = { after: this.#readTo, upTo: horizon }
    const { encode, now, progress, rules } = this.#options
    const read = () =>
      reader.readPage(this.scopeAfter(range.after), range, { rows, bytes: this.#pageBytes }, (row) =>
        itemOf(row, encode, now(), rules.limits),
      )
    return (progress ? progress.track('page', read, isCancelled) : read()).then(
      (page) => ({ page, upTo: horizon }),
      (error) => {
        if (isCancelled(error)) this.#mostRows = Math.max(1, rows >> 2)
        throw error
      },
    )
  }

  #take({ page, upTo }: Reading): void {
    const from = this.#readTo
    const gone = this.#deletions.find(from, page.oldest, upTo)
    if (gone !== undefined) {
      this.#held.add([{ kind: 'gap', from, position: gone }])
      // Batches that were to end before it have nothing left to send.
      this.#bounds = this.#bounds.filter((bound) => comparePositions(bound, gone) >= 0)
    } else if (page.oldest && this.#held.items.length === 0 && this.#frozen.length === 0) {
      // Before the table's first row there is nothing to send, and nothing will come: it is below the horizon.
      const empty = placeBefore(page.oldest)
      if (comparePositions(empty, from) > 0 && comparePositions(empty, upTo) < 0) {
        this.#emptyTo = empty
        this.#handedOutTo = empty
      }
    }
    const bytes = this.#held.add(page.rows)
    this.#readTo = page.full ? (page.last ?? upTo) : upTo
    this.#exhausted = !page.full
    if (page.full) this.#deletions.tookPage(page.oldest)
    else this.#deletions.tookAll()
    this.#mostRows = Math.min(this.#mostRows + 1 + (this.#mostRows >> 3), maxPageRows)
    if (page.rows.length > 0) this.#rowBytes = Math.max(64, bytes / page.rows.length)
    this.#pageBytes = page.full ? Math.min(this.#pageBytes * 2, maxPageBytes) : firstPageBytes
  }

  get #firstUnsettled(): Position | undefined {
    return this.#held.firstAfter(this.#position)
  }
}
