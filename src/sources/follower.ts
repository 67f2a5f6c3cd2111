/**
 * Looks at one source again and again, by the rules of its ordering: what a look sees goes into a tracker,
 * which keeps the horizon and notices when the source went back in time.
 */
import type { SourceSql } from '../db/client.ts'
import { SourceRewoundError } from '../errors.ts'
import type { HolderQuestion } from './holders.ts'
import {
  type Observation,
  type Observe,
  observeIds,
  observeTransactions,
  type TransactionsLook,
} from './observer.ts'
import type { Position } from './position.ts'
import type { Oldest, Reader } from './reader.ts'
import {
  type Memory,
  partsSince,
  type Rewind,
  rewindOfIds,
  rewindOfTransactions,
  type Trace,
} from './rewind.ts'
import type { Source } from './source.ts'
import { IdTracker, type Tracker, TransactionTracker } from './tracker.ts'

/** What a look came to. */
export type Sight =
  /** The table, its sequence or its partitions are not what they were: look the source up again. */
  | { readonly kind: 'changed' }
  /** The server took transactions back: start anew, from the cursors. */
  | { readonly kind: 'anew' }
  | {
      readonly kind: 'seen'
      readonly moved: boolean
      readonly oldest: Oldest
      readonly lastDrawn: Drawn
      /** The table has the trigger that tells of its rows. */
      readonly hinted: boolean
    }

type Drawn = Trace['lastDrawn']

export interface Follower {
  /** The horizon (I2). */
  readonly position: Position | undefined
  /** Rows wait beyond the horizon. */
  readonly pending: boolean
  /** Rows may wait, and only the table itself tells whether they do (`Reader.hasRowsAfter`). */
  readonly mayWait: boolean
  /** What tells who holds the horizon back. */
  readonly heldBy: HolderQuestion
  /** Throws `SourceRewoundError` when the source went back in time. The first look takes a fence. */
  look(takeFence: boolean): Promise<Sight>
}

export interface FollowerOptions {
  readonly sql: SourceSql
  readonly source: Source
  readonly reader: Reader
  readonly memory: Memory
}

export function follow({ sql, source, reader, memory }: FollowerOptions): Follower {
  const now = { cluster: source.cluster, incarnation: source.incarnation }
  const holds = () => anchorHolds(source, reader, memory)
  const attached = () => findAttachedRow(source, reader, memory)
  return source.definition.ordering === 'id'
    ? new Following(
        source,
        observeIds(sql, source),
        new IdTracker(memory.horizon),
        async (seen) => rewindOfIds(memory, { ...now, ...seen }, await holds()) ?? (await attached()),
        (seen) => seen.lastDrawn,
      )
    : new Following<TransactionsLook>(
        source,
        observeTransactions(sql, source, reader.firstRow),
        new TransactionTracker(),
        async (seen) =>
          rewindOfTransactions(memory, { ...now, nextXact: seen.nextXact }, await holds()) ??
          (await attached()),
        () => undefined,
      )
}

/** Whether the row that was the last one is still there as it was; asked only where something else has changed. */
async function anchorHolds(source: Source, reader: Reader, { trace }: Memory): Promise<boolean> {
  if (!trace?.anchor || trace.incarnation === source.incarnation) return true
  const there = await reader.anchor(trace.anchor.position)
  return there?.position === trace.anchor.position && there.stamp === trace.anchor.stamp
}

/** A partition that was filled first and attached later brings rows below what was read. */
async function findAttachedRow(source: Source, reader: Reader, memory: Memory): Promise<Rewind> {
  const oids = partsSince(
    memory,
    source.parts.map(({ oid }) => oid),
  )
  const read = memory.horizon ?? memory.cursor
  if (read === undefined) return undefined
  for (const { oid, name } of source.parts) {
    const row = oids.includes(oid) ? await reader.rowIn(name, read) : undefined
    if (row !== undefined) {
      return `the partition ${name} was attached with rows such as ${row}, and the table was read up to ${read}`
    }
  }
  return undefined
}

class Following<Seen extends Observation> implements Follower {
  readonly #source: Source
  readonly #observe: Observe<Seen>
  readonly #tracker: Tracker<Seen>
  readonly #judgeFirst: (seen: Seen) => Promise<Rewind>
  readonly #drawn: (seen: Seen) => Drawn
  #first = true

  constructor(
    source: Source,
    observe: Observe<Seen>,
    tracker: Tracker<Seen>,
    judgeFirst: (seen: Seen) => Promise<Rewind>,
    drawn: (seen: Seen) => Drawn,
  ) {
    this.#source = source
    this.#observe = observe
    this.#tracker = tracker
    this.#judgeFirst = judgeFirst
    this.#drawn = drawn
  }

  get position(): Position | undefined {
    return this.#tracker.position
  }

  get pending(): boolean {
    return this.#tracker.pending
  }

  get mayWait(): boolean {
    return this.#tracker.mayWait
  }

  get heldBy(): HolderQuestion {
    return this.#tracker.heldBy
  }

  async look(takeFence: boolean): Promise<Sight> {
    const seen = await this.#observe()
    if (seen.fingerprint !== this.#source.fingerprint) return { kind: 'changed' }
    if (this.#first) {
      this.#refuse(await this.#judgeFirst(seen))
      this.#first = false
    } else {
      const verdict = this.#tracker.judge(seen)
      if (verdict === 'anew') return { kind: 'anew' }
      if (verdict !== 'good') this.#refuse(verdict.lost)
    }
    const moved = this.#tracker.take(seen, takeFence)
    return { kind: 'seen', moved, oldest: seen.oldest, lastDrawn: this.#drawn(seen), hinted: seen.hinted }
  }

  #refuse(rewind: Rewind): void {
    if (rewind !== undefined) throw new SourceRewoundError(this.#source.definition.logType, rewind)
  }
}
