/**
 * Finds the events for whose sake a batch was refused, so that the others are delivered (I1, I5, I6). Pure: answers in,
 * the next piece to send and what may be settled out; the caller freezes the pieces' bounds before it sends (I4).
 *
 * A refused piece is halved until its culprits are alone. What that says of them depends on the others:
 *
 * - Something of the same batch was accepted: the event is refused for its own sake, and becomes a dead letter.
 * - Every event of the batch was refused: it is the destination that is wrong (DESIGN §4). Nothing becomes a dead
 *   letter; the batch gets its own bounds back and the destination backs off.
 * - A batch that is wholly refused again after that back-off may be one poisoned event that came alone. So the
 *   batch after it is tried too, and if something of that is accepted, it was the events after all.
 *
 * Refusals before the first acceptance are `undecided`. Where there are several, they are sent once more before
 * they become dead letters: most likely the destination was mended while its events were being tried one by one.
 */
import type { Gone, Outcome, Partial, Reason, Retry, Unauthorized } from '../../providers/provider.ts'
import { comparePositions, type Position } from '../sources/position.ts'
import type { Batch } from './batch.ts'
import type { Divided } from './cursor.ts'
import { joinSettlements, type RefusedEvent, type Settlement, settlementOf } from './settlement.ts'

/** An outcome that is about the destination, not about events. */
export type Failure = Retry | Unauthorized | Gone

export interface HalvingOptions {
  /** It was wholly refused before: look at what comes after it. */
  readonly looksBeyond: boolean
  /** What an earlier search has left: the batches up to there are parts of one. */
  readonly divided?: Divided | undefined
  /** The events are dead letters that are tried again: a refusal says nothing of the destination. */
  readonly refusedBefore?: boolean
  /** Requests without an acceptance before it is given up; a search of a whole batch takes twice its events. */
  readonly probes: number
}

/** What one answer leads to. */
export interface Step {
  /** The cursor may go there, with these records. */
  readonly settlement: Settlement | undefined
  /** It ends the search; the pieces stay frozen. */
  readonly failure: Failure | undefined
}

/** A batch that pieces are parts of. */
interface Origin {
  readonly to: Position
  /** Undefined where only parts of it are left. */
  readonly whole: Batch | undefined
}

interface Piece {
  readonly batch: Batch
  readonly origin: Origin
  /** What comes right after it, where both are the halves of a piece that was refused for what is in it. */
  readonly other?: Piece | undefined
  /** It was undecided, and is sent once more. */
  readonly isSecondTry: boolean
  /** The other half was accepted, so what the whole was refused for must be in here. */
  holdsCulprit?: true
  /** What came of it; not settled yet, because what comes before it is not. */
  fate?: 'accepted' | 'accepted_before' | readonly RefusedEvent[]
}

interface Undecided {
  readonly piece: Piece
  /** All its events; none for a piece that says nothing, and only waits for those before it. */
  readonly refused: readonly RefusedEvent[]
}

/** Enough to find an accepted event behind a few poisoned ones; see `looksBeyond`. */
export const probesBeyond = 32
/** What may be held in memory of batches that are wholly refused, while those behind them are looked at (I9). */
const maxBytesBeyond = 8 * 1024 * 1024

export class Halving {
  readonly #refusedBefore: boolean
  #looksBeyond: boolean
  /** In order; unsettled, and before everything in the queue. */
  #undecided: Undecided[] = []
  #queue: Piece[]
  /** A batch of which something was accepted. */
  #vouched: Origin | undefined
  /** What an earlier search has left. */
  readonly #left: Origin | undefined
  #probes: number
  #lastReason: Reason | undefined
  /** Nothing comes after the queue. */
  #isAll = false

  /** `batches` are frozen and follow each other; the first one has been sent, and its answer goes to `take`. */
  constructor(batches: readonly Batch[], options: HalvingOptions) {
    const { divided, looksBeyond, probes, refusedBefore = false } = options
    this.#refusedBefore = refusedBefore
    this.#looksBeyond = looksBeyond
    this.#probes = probes
    this.#left = divided && { to: divided.to, whole: undefined }
    if (divided?.accepted) this.#vouched = this.#left
    this.#queue = batches.map((batch) => this.#pieceOf(batch))
  }

  /** All pieces that are not settled, in order. Their ends are frozen before the next one is sent. */
  get unsettled(): Batch[] {
    return this.#pieces.map(({ batch }) => batch)
  }

  /** What is to be sent next; undefined when nothing is left, or `add` is needed to go on. */
  get next(): Batch | undefined {
    return this.#queue[0]?.batch
  }

  /** Only what comes after its batches can tell whether the events or the destination are at fault. */
  get needsMore(): boolean {
    return this.#queue.length === 0 && this.#undecided.length > 0 && this.verdict === undefined
  }

  /** `batches`: what comes next; none: that is all there is. */
  add(batches: readonly Batch[]): void {
    this.#isAll = batches.length === 0
    this.#queue.push(...batches.map((batch) => this.#pieceOf(batch)))
    this.#advance()
  }

  /** Set when every event is refused, as far as the search goes: it is the destination that is wrong. */
  get verdict(): Reason | undefined {
    const last = this.#undecided.at(-1)?.piece
    const isWhole = last !== undefined && this.#queue[0]?.origin !== last.origin
    const isEnd = this.#isAll && this.#queue.length === 0
    const isOver = isWhole && (!this.#looksBeyond || isEnd || this.#heldBytes > maxBytesBeyond)
    return isOver || this.#probes <= 0 ? this.#lastReason : undefined
  }

  /** What is not settled, in the batches that it was halved from. */
  get restored(): Batch[] {
    // Of a batch that is settled in part only pieces are left.
    const batches = this.#pieces.map(({ batch, origin }) =>
      origin === this.#vouched ? batch : (origin.whole ?? batch),
    )
    return batches.filter((batch, index) => batch !== batches[index - 1])
  }

  /** What is stored of the batch that is unsettled in parts, for a search that has to begin anew in the middle of it. */
  get divided(): Divided | null {
    // Given up, a batch is whole again; unless an earlier search had left only parts of it.
    const isPart = ({ batch, origin }: Piece) =>
      this.verdict && origin !== this.#vouched ? origin.whole === undefined : batch !== origin.whole
    const part = this.#pieces.find(isPart)
    return part ? { to: part.origin.to, accepted: part.origin === this.#vouched } : null
  }

  get #heldBytes(): number {
    return this.#undecided.reduce((sum, { piece }) => sum + piece.batch.bytes, 0)
  }

  get #pieces(): Piece[] {
    return [...this.#undecided.map(({ piece }) => piece), ...this.#queue]
  }

  /** Pieces that were accepted beyond the one that failed: they need not be sent again. */
  get acceptedAhead(): Batch[] {
    return this.#pieces
      .filter(({ fate }) => fate === 'accepted' || fate === 'accepted_before')
      .map(({ batch }) => batch)
  }

  /**
   * The answer to `next`. `isOld`: it was accepted at an earlier time, which says nothing of what is refused now: the
   * destination may be wrong since then.
   */
  take(outcome: Outcome, isOld = false): Step {
    const piece = this.#queue.shift()
    if (!piece) throw new Error('an answer to nothing')
    switch (outcome.kind) {
      case 'accepted':
        if (!isOld && piece.other !== undefined && piece.other === this.#queue[0]) {
          piece.other.holdsCulprit = true
        }
        this.#queue.unshift({ ...piece, fate: isOld ? 'accepted_before' : 'accepted' })
        break
      case 'rejected':
        this.#noteRefusal(outcome.reason)
        if (piece.batch.events.length > 1) this.#halve(piece, outcome.reason)
        else this.#queue.unshift({ ...piece, fate: [{ index: 0, reason: outcome.reason }] })
        break
      case 'partial':
        return this.#takePartial(piece, outcome)
      case 'retry':
      case 'unauthorized':
      case 'gone':
        this.#queue.unshift(piece)
        return { settlement: undefined, failure: outcome }
      default:
        return outcome satisfies never
    }
    return { settlement: this.#advance(), failure: undefined }
  }

  /** An answer that judges each event: the piece falls into runs of the same fate. */
  #takePartial(piece: Piece, { refused }: Partial): Step {
    const outcomes = new Map(refused.map(({ index, outcome }) => [index, outcome]))
    if (outcomes.size < piece.batch.events.length) this.#vouch(piece)
    const runs = runsOf(piece.batch.events.length, (index) => outcomes.get(index)?.kind)
    let failure: Failure | undefined
    const pieces = runs.map(({ start, end }): Piece => {
      const run = { ...piece, batch: piece.batch.part(start, end), other: undefined }
      const outcome = outcomes.get(start)
      if (outcome === undefined) return { ...run, fate: 'accepted' }
      if (outcome.kind !== 'rejected') {
        failure ??= outcome
        return run
      }
      this.#noteRefusal(outcome.reason)
      return { ...run, fate: refusedOf(refused, start, end) }
    })
    this.#queue.unshift(...pieces)
    return { settlement: this.#advance(), failure }
  }

  #noteRefusal(reason: Reason): void {
    this.#probes -= 1
    this.#lastReason = reason
  }

  #halve({ batch, origin, isSecondTry }: Piece, reason: Reason | undefined): void {
    // The smaller half first: so a culprit costs at most two requests for each bit of the batch's size.
    const middle = batch.events.length >> 1
    const right: Piece = { batch: batch.part(middle, batch.events.length), origin, isSecondTry }
    // What was too large as a whole says nothing of its halves.
    const other = reason?.status === 413 ? undefined : right
    this.#queue.unshift({ batch: batch.part(0, middle), origin, isSecondTry, other }, right)
  }

  /** Settles what is known at the head of the queue, and opens pieces that need no request of their own. */
  #advance(): Settlement | undefined {
    let settled: Settlement | undefined
    const settle = (piece: Piece, refused: readonly RefusedEvent[]) => {
      for (const each of [...this.#undecided, { piece, refused }]) {
        settled = joinSettlements(settled, settlementOf(each.piece.batch, each.refused))
      }
      // The fate of those before it is known with it.
      this.#undecided = []
    }
    for (let head = this.#queue[0]; head; head = this.#queue[0]) {
      if (head.holdsCulprit && head.batch.events.length > 1) {
        this.#queue.shift()
        this.#halve(head, undefined)
      } else if (head.batch.events.length === 0 || head.fate === 'accepted_before') {
        this.#queue.shift()
        if (this.#undecided.length > 0) this.#undecided.push({ piece: head, refused: [] })
        else settle(head, [])
      } else if (head.fate === undefined) {
        break
      } else if (head.fate !== 'accepted' && !head.isSecondTry && !this.#isVouched(head)) {
        this.#queue.shift()
        this.#undecided.push({ piece: head, refused: head.fate })
        if (this.#queue[0]?.origin !== head.origin) this.#probes = Math.min(this.#probes, probesBeyond)
      } else {
        // Before the second tries, which are no more requests without an acceptance.
        if (head.fate === 'accepted') this.#vouch(head)
        if (this.#tryAgain()) continue
        this.#queue.shift()
        settle(head, head.fate === 'accepted' ? [] : head.fate)
      }
    }
    return settled
  }

  #pieceOf(batch: Batch): Piece {
    const isLeft = this.#left !== undefined && comparePositions(batch.to, this.#left.to) <= 0
    const origin = isLeft && this.#left ? this.#left : { to: batch.to, whole: batch }
    return { batch, origin, isSecondTry: false }
  }

  #isVouched({ origin }: Piece): boolean {
    return this.#refusedBefore || origin === this.#vouched
  }

  #vouch({ origin }: Piece): void {
    this.#vouched = origin
    this.#probes = Number.POSITIVE_INFINITY
    this.#looksBeyond = false
  }

  /** Puts several undecided events back to the head of the queue. */
  #tryAgain(): boolean {
    if (this.#undecided.reduce((sum, { refused }) => sum + refused.length, 0) < 2) return false
    const again = this.#undecided.map(({ piece }): Piece => {
      if (piece.fate === 'accepted_before') return piece
      return { batch: piece.batch, origin: piece.origin, isSecondTry: true }
    })
    this.#undecided = []
    this.#queue.unshift(...again)
    return true
  }
}

/** Neighbours that share `key`, as half-open ranges. */
function runsOf(count: number, key: (index: number) => unknown): { start: number; end: number }[] {
  const runs: { start: number; end: number }[] = []
  for (let index = 0; index < count; index += 1) {
    const last = runs.at(-1)
    if (last && key(last.start) === key(index)) last.end = index + 1
    else runs.push({ start: index, end: index + 1 })
  }
  return runs
}

function refusedOf(refusals: Partial['refused'], start: number, end: number): RefusedEvent[] {
  return refusals.flatMap(({ index, outcome }) =>
    index >= start && index < end && outcome.kind === 'rejected'
      ? [{ index: index - start, reason: outcome.reason }]
      : [],
  )
}

/**
 * The first search of a batch goes to its end: twice as many requests as it has events, if they are all refused. When
 * that is repeated, ever more seldom; in between a few requests tell whether everything is still refused.
 */
export function searchOptions(
  isAgain: boolean,
  failures: number,
): Pick<HalvingOptions, 'looksBeyond' | 'probes'> {
  const isPowerOfTwo = (failures & (failures - 1)) === 0
  return {
    looksBeyond: isAgain,
    probes: isAgain && !isPowerOfTwo ? probesBeyond : Number.POSITIVE_INFINITY,
  }
}

/** Where each event goes alone, a batch is only refused when each of its events was. */
export function eachAlone(outcome: Outcome, { events }: Batch): Outcome {
  if (outcome.kind !== 'rejected') return outcome
  return { kind: 'partial', refused: events.map((_, index) => ({ index, outcome })) }
}
