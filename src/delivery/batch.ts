/**
 * Cutting batches (I4). Pure: items in, a batch out. A batch covers consecutive items; those it cannot
 * carry (too old, too large) are settled with it, each with its record (I1, I5).
 */
import { createHash } from 'node:crypto'
import type { EncodedBatch, EncodedEvent, Framing, Limits, ReasonCode } from '../../providers/provider.ts'
import { comparePositions, type Position } from '../sources/position.ts'
import type { Item } from './item.ts'

/** Positions after `from` up to and including `to` that are not delivered. */
export interface SkippedRange {
  readonly from: Position
  readonly to: Position
  /** Undefined where it cannot be known. */
  readonly count: number | undefined
  readonly reason: string
}

export interface DeadLetter {
  readonly position: Position
  readonly eventId: string
  readonly code: ReasonCode
  /** The HTTP status, where there was one. */
  readonly status?: number
  readonly message: string
}

export interface Batch extends EncodedBatch {
  /** Exclusive: the cursor when the batch is the next to settle. */
  readonly from: Position
  /** Inclusive, frozen. */
  readonly to: Position
  /** One per event. */
  readonly positions: readonly Position[]
  readonly skipped: readonly SkippedRange[]
  readonly deadLetters: readonly DeadLetter[]
  /** Of the body before compression, framing included. */
  readonly bytes: number
  /**
   * The events from index `start` up to and without `end` as a batch of its own, with bounds and an id of its own and what
   * is not delivered between them. Neighbouring parts leave nothing out.
   */
  part(start: number, end: number): Batch
}

export interface CutRules {
  readonly destinationId: number
  readonly logType: string
  readonly limits: Limits
  readonly framing: Framing
  /** The destination's batch size; the provider's `maxEvents` may be lower. */
  readonly batchSize: number
  /** Not in the live stream. */
  readonly replayId?: string
}

export interface Cut {
  readonly batch: Batch
  /** How many items the batch covers. */
  readonly taken: number
  /** A limit or the bound ended it: more items would not change it. */
  readonly complete: boolean
}

/**
 * The batch that starts after `from` and takes of `items` from index `start` on. `bound`, where given, is
 * its frozen end: no item beyond it is taken, and it reaches up to there unless a limit ends it before
 * (the settings have changed since it was frozen). `now` judges age.
 */
export function cutBatch(
  items: readonly Item[],
  start: number,
  from: Position,
  bound: Position | undefined,
  rules: CutRules,
  now: number,
): Cut {
  const { limits, framing } = rules
  const maxEvents = Math.min(rules.batchSize, limits.maxEvents)
  const { emptyBytes, separatorBytes } = framingBytes(framing)
  const oldest = limits.maxEventAgeMs === undefined ? undefined : now - limits.maxEventAgeMs
  const newest = limits.maxEventAheadMs === undefined ? undefined : now + limits.maxEventAheadMs
  const events: EncodedEvent[] = []
  const positions: Position[] = []
  const skipped: SkippedRange[] = []
  const deadLetters: DeadLetter[] = []
  let bytes = emptyBytes
  let to = from
  let ended: 'limit' | 'bound' | 'items' = 'items'
  let index = start
  for (; index < items.length; index++) {
    const item = items[index]
    if (!item) break
    if (item.kind === 'event' && item.isDuplicate) {
      // To a receiver it is the event that went before it. It is settled with that, also in a full batch.
      deadLetters.push({
        position: item.position,
        eventId: item.id,
        code: 'duplicate_id',
        message: 'Another row of the table has the same id, and was sent under it.',
      })
      continue
    }
    // Without a frozen end, a full batch is complete whatever comes next.
    if (bound === undefined && events.length >= maxEvents) break
    if (bound !== undefined && comparePositions(item.position, bound) > 0) {
      ended = 'bound'
      break
    }
    if (item.kind === 'gap') {
      const { from, position } = item
      skipped.push({ from, to: position, count: undefined, reason: 'deleted_at_source' })
      to = position
      continue
    }
    const { timestampMs } = item
    if (oldest !== undefined && timestampMs !== undefined && timestampMs < oldest) {
      extendSkipped(skipped, to, item.position, 'too_old_for_provider')
    } else if (newest !== undefined && timestampMs !== undefined && timestampMs > newest) {
      extendSkipped(skipped, to, item.position, 'too_far_ahead_for_provider')
    } else if (item.bytes > limits.maxEventBytes || emptyBytes + item.bytes > limits.maxBytes) {
      deadLetters.push({
        position: item.position,
        eventId: item.id,
        code: 'event_too_large',
        message: `The event has ${item.bytes} bytes; the destination takes ${Math.min(limits.maxEventBytes, limits.maxBytes - emptyBytes)}.`,
      })
    } else {
      const added = item.bytes + (events.length > 0 ? separatorBytes : 0)
      if (events.length >= maxEvents || (events.length > 0 && bytes + added > limits.maxBytes)) {
        ended = 'limit'
        break
      }
      bytes += added
      events.push(item)
      positions.push(item.position)
    }
    to = item.position
  }
  if (bound === undefined && events.length >= maxEvents) ended = 'limit'
  return {
    batch: new CutBatch(rules, {
      from,
      // A frozen end holds even where the last rows before it are gone.
      to: bound !== undefined && ended !== 'limit' ? bound : to,
      events,
      positions,
      skipped,
      deadLetters,
      bytes,
    }),
    taken: index - start,
    complete: ended !== 'items',
  }
}

function framingBytes({ prefix, separator, suffix }: Framing) {
  return {
    emptyBytes: Buffer.byteLength(prefix) + Buffer.byteLength(suffix),
    separatorBytes: Buffer.byteLength(separator),
  }
}

/** Joins neighbours: one record for a run of skipped events. */
function extendSkipped(skipped: SkippedRange[], from: Position, to: Position, reason: string): void {
  const last = skipped.at(-1)
  if (last && last.to === from && last.reason === reason && last.count !== undefined) {
    skipped[skipped.length - 1] = { ...last, to, count: last.count + 1 }
  } else {
    skipped.push({ from, to, count: 1, reason })
  }
}

type Contents = Pick<Batch, 'from' | 'to' | 'events' | 'positions' | 'skipped' | 'deadLetters' | 'bytes'>

class CutBatch implements Batch {
  readonly from: Position
  readonly to: Position
  readonly events: readonly EncodedEvent[]
  readonly positions: readonly Position[]
  readonly skipped: readonly SkippedRange[]
  readonly deadLetters: readonly DeadLetter[]
  readonly bytes: number
  readonly #rules: CutRules
  #id: string | undefined

  constructor(rules: CutRules, contents: Contents) {
    this.#rules = rules
    this.from = contents.from
    this.to = contents.to
    this.events = contents.events
    this.positions = contents.positions
    this.skipped = contents.skipped
    this.deadLetters = contents.deadLetters
    this.bytes = contents.bytes
  }

  get logType(): string {
    return this.#rules.logType
  }

  get replayId(): string | undefined {
    return this.#rules.replayId
  }

  get id(): string {
    this.#id ??= batchId(this.#rules, [this.from, this.to], this.events)
    return this.#id
  }

  part(start: number, end: number): Batch {
    const from = start === 0 ? this.from : (this.positions[start - 1] ?? this.to)
    const to = end >= this.events.length ? this.to : (this.positions[end - 1] ?? this.from)
    const within = (position: Position) =>
      comparePositions(position, from) > 0 && comparePositions(position, to) <= 0
    const events = this.events.slice(start, end)
    const { emptyBytes, separatorBytes } = framingBytes(this.#rules.framing)
    return new CutBatch(this.#rules, {
      from,
      to,
      events,
      positions: this.positions.slice(start, end),
      skipped: this.skipped.filter((range) => within(range.to)),
      deadLetters: this.deadLetters.filter(({ position }) => within(position)),
      bytes: events.reduce(
        (sum, { bytes }) => sum + bytes,
        emptyBytes + separatorBytes * (events.length - 1),
      ),
    })
  }

  eventBatchId(index: number): string {
    const event = this.events[index]
    const position = this.positions[index]
    if (event === undefined || position === undefined) throw new RangeError(`no event ${index} in the batch`)
    return batchId(this.#rules, [position], [event])
  }
}

/** Derived from destination, log type, bounds and all that decides the bytes; without `.`, as webhook ids must be. */
function batchId(rules: CutRules, bounds: readonly Position[], events: readonly EncodedEvent[]): string {
  const { prefix, separator, suffix, gzip, onePerRequest = false } = rules.framing
  const hash = createHash('sha256').update(
    JSON.stringify([
      rules.destinationId,
      rules.logType,
      bounds,
      prefix,
      separator,
      suffix,
      gzip,
      onePerRequest,
      ...(rules.replayId === undefined ? [] : [rules.replayId]),
    ]),
  )
  // The length first: else a line break inside a body could pass for the end of an event.
  for (const event of events) hash.update(`\n${event.bytes}\n`).update(event.body)
  return `batch_${hash.digest('hex').slice(0, 40)}`
}
