/**
 * The batches of a turn that are not settled, in their order: taken from the stream, then frozen, then sent. While some
 * are on their way more are taken and frozen, so that the endpoint waits neither for pages nor for the disk.
 *
 * The cursor is written by one write at a time; each carries all that is known when it begins. One that settles is waited
 * for until it is *dispatched*: stored, or on its way to PostgreSQL and no longer in need of this process.
 * Keeps: I4 (only what is frozen is `ready` to be sent), I1 (what was taken and not settled is in every write).
 */
import type { Batch } from './batch.ts'
import type { CursorWriter } from './cursor-writer.ts'
import type { Seat } from './lanes.ts'
import type { Settlement } from './settlement.ts'
import type { Stream } from './stream.ts'

export interface SupplyOptions {
  readonly stream: Stream
  readonly seat: Seat
  readonly writer: Pick<CursorWriter, 'write'>
  /** Aborts what is waited for. */
  readonly aborting: AbortSignal
}

/** A write of the cursor. */
interface Write {
  /** Rejects where it could not be stored, also after it was dispatched. */
  readonly stored: Promise<void>
  readonly dispatched: Promise<void>
}

/** One write to the disk freezes up to this many batches, and so many are frozen at once. */
export const freezeAhead = 16

export class Supply {
  readonly #options: SupplyOptions
  /** Not settled. */
  #batches: Batch[] = []
  /** The first so many of them are frozen. */
  #frozen = 0
  /** How many the last freeze brought. */
  #brought = 0
  /** In no write yet. */
  #settlement: Settlement | undefined
  #taking: Promise<void> | undefined
  #callOff: AbortController | undefined
  #write: Write | undefined
  #nextWrite: Write | undefined

  constructor(options: SupplyOptions) {
    this.#options = options
  }

  /** Frozen and not settled; the first is the next to settle. */
  get ready(): readonly Batch[] {
    return this.#batches.slice(0, this.#frozen)
  }

  get size(): number {
    return this.#batches.length
  }

  /** Until there is one that can be sent; false when there is nothing more. At most `count` are taken. */
  async fill(count: number): Promise<boolean> {
    if (this.#frozen === 0) await this.#taking
    if (this.#frozen === 0) await this.#take(Math.min(count, freezeAhead), this.#options.aborting, false)
    return this.#frozen > 0
  }

  /** Beside the requests, when few are left of what the last freeze brought. `inFlight`: so many may be sent at once. */
  refill(count: number, inFlight: number): void {
    const isLow = this.#frozen > 0 && this.#frozen <= Math.max(this.#brought, inFlight)
    const wanted = Math.min(count, freezeAhead - this.#batches.length)
    if (this.#taking || !isLow || wanted <= 0) return
    this.#callOff = new AbortController()
    this.#taking = this.#take(wanted, this.#callOff.signal, true).finally(() => {
      this.#taking = undefined
    })
    // Whoever needs what it brings gets the error.
    this.#taking.catch(() => {})
  }

  /**
   * The first one has been sent. Resolves when that is dispatched, so that a kill repeats one batch and not two; where
   * nothing is ready to be sent, it goes with what is frozen next.
   */
  async settle(settlement: Settlement): Promise<void> {
    this.#batches.shift()
    this.#frozen -= 1
    this.#settlement = settlement
    if (this.#batches.length === 0 && !this.#taking) return
    await this.#writeSoon().dispatched
  }

  /** Takes no more, and gives up what is not settled, all of it frozen: somebody else goes on with it. */
  async handOver(): Promise<readonly Batch[]> {
    await this.close()
    const batches = this.#batches
    this.#batches = []
    this.#frozen = 0
    return batches
  }

  /** All has been settled, but for `settlement`, which goes with what is frozen next. */
  resume(settlement: Settlement): void {
    this.#settlement = settlement
  }

  /** Takes no more. All that was settled is stored then. */
  async close(): Promise<void> {
    this.#callOff?.abort()
    await this.#taking?.catch(() => {})
    await (this.#settlement ? this.#writeSoon() : (this.#nextWrite ?? this.#write))?.stored
  }

  async #take(count: number, signal: AbortSignal, ahead: boolean): Promise<void> {
    const { stream, seat } = this.#options
    const batches = await stream.next(count, seat, signal, ahead)
    if (ahead && batches.length === 0) return
    this.#batches.push(...batches)
    this.#brought = batches.length
    await this.#writeSoon().stored
    this.#frozen += batches.length
  }

  /** Carries all that is known now. */
  #writeSoon(): Write {
    this.#nextWrite ??= this.#writeNext(this.#write)
    return this.#nextWrite
  }

  #writeNext(before: Write | undefined): Write {
    const dispatching = Promise.withResolvers<void>()
    const stored = this.#writeAfter(before, dispatching.resolve)
    // Whoever goes on from here gets the error, with the next write or at the end.
    stored.then(dispatching.resolve, dispatching.reject)
    dispatching.promise.catch(() => {})
    return { stored, dispatched: dispatching.promise }
  }

  async #writeAfter(before: Write | undefined, onDispatched: () => void): Promise<void> {
    // Not before the caller knows of it.
    await before?.stored
    this.#write = this.#nextWrite
    this.#nextWrite = undefined
    const settlement = this.#settlement
    this.#settlement = undefined
    const { stream, writer } = this.#options
    await writer.write(stream, settlement, this.#batches, undefined, onDispatched)
  }
}
