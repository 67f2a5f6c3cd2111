/** What an application has committed, held against what a destination got. */
import { deliveries, type WireEvent } from '../accounting.ts'
import type { ReceivedRequest, Receiver } from '../receiver.ts'

/** A row as the application wrote it, and as its event must be. */
export type Written = Pick<WireEvent, 'id' | 'org_id' | 'timestamp' | 'data'>

/** When something began and ended, by one clock. */
export interface Span {
  readonly began: number
  readonly ended: number
}

interface Entry extends Written {
  readonly commit: Span
}

/** Rows by the id of their event. Rows that were deleted later stay in it: they were committed. */
export class Ledger {
  readonly #entries = new Map<string, Entry>()

  add(rows: readonly Written[], commit: Span): void {
    for (const row of rows) this.#entries.set(row.id, { ...row, commit })
  }

  get size(): number {
    return this.#entries.size
  }

  ids(which: (row: Written) => boolean = () => true): string[] {
    return [...this.#entries.values()].filter(which).map(({ id }) => id)
  }

  /**
   * The account of a destination. `org` null means all. `made` is when a destination that starts at "now" was
   * inserted: what was committed before is none of its business; without it everything is owed.
   */
  account(events: readonly WireEvent[], org: string | null, made?: Span): Account {
    const got = new Map<string, WireEvent>()
    const repeated: string[] = []
    const wrong: Account['wrong'][number][] = []
    for (const event of events) {
      if (got.has(event.id)) repeated.push(event.id)
      got.set(event.id, event)
      const entry = this.#entries.get(event.id)
      if (entry === undefined) continue
      const { commit: _, ...written } = entry
      const { event: __, ...arrived } = event
      if (JSON.stringify(sorted(arrived)) !== JSON.stringify(sorted(written))) {
        // A few are enough to see what is wrong with all.
        if (wrong.length < 3) wrong.push({ written, arrived })
      }
    }
    const entries = [...this.#entries.values()]
    const isOwed = (entry: Entry) =>
      (org === null || entry.org_id === org) && (made === undefined || entry.commit.began > made.ended)
    return {
      lost: entries.filter((entry) => isOwed(entry) && !got.has(entry.id)).map(({ id }) => id),
      ghosts: [...got.keys()].filter((id) => !this.#entries.has(id)),
      early: entries
        .filter(({ id, commit }) => made !== undefined && commit.ended < made.began && got.has(id))
        .map(({ id }) => id),
      foreign: events.filter((event) => org !== null && event.org_id !== org).map(({ id }) => id),
      repeated,
      wrong,
    }
  }
}

export interface Account {
  /** Committed, and never arrived. */
  readonly lost: readonly string[]
  /** Arrived, and was never committed. */
  readonly ghosts: readonly string[]
  /** Arrived, although it was committed before the destination was made. */
  readonly early: readonly string[]
  /** Of another org than the destination's. */
  readonly foreign: readonly string[]
  readonly repeated: readonly string[]
  /** Arrived with another org, time or data than was written. */
  readonly wrong: readonly { readonly written: Written; readonly arrived: Written }[]
}

export const exact: Account = { lost: [], ghosts: [], early: [], foreign: [], repeated: [], wrong: [] }

/** The events that came to a path, without the one that `spillway destinations test` sends. */
export function eventsAt(requests: readonly ReceivedRequest[], path: string): WireEvent[] {
  return deliveries(requests.filter((request) => request.path === path))
    .flatMap(({ events }) => events)
    .filter(({ id }) => !id.includes(':test-'))
}

/** Waits until all of these events have come to a path. */
export async function arrived(receiver: Receiver, path: string, ids: readonly string[]): Promise<void> {
  const missing = new Set(ids)
  for (let seen = 0; ; ) {
    const requests = await receiver.received(seen)
    for (const { id } of eventsAt(requests.slice(seen), path)) missing.delete(id)
    seen = requests.length
    if (missing.size === 0) return
    await receiver.received(seen + 1)
  }
}

/** With the members of every object in one order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => [key, sorted(member)]),
  )
}
