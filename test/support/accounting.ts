/** What a receiver got, held against what is committed. */
import type postgres from 'postgres'
import type { ReceivedRequest } from './receiver.ts'

export interface Delivery {
  readonly batchId: string
  readonly body: string
  readonly events: readonly WireEvent[]
}

export interface WireEvent {
  readonly id: string
  readonly event: string
  readonly timestamp: string
  readonly org_id: string | null
  readonly data: Readonly<Record<string, unknown>>
}

export function deliveries(requests: readonly ReceivedRequest[]): Delivery[] {
  return requests.map((request) => ({
    batchId: request.headers['webhook-id'] ?? '',
    body: request.body.toString(),
    events: JSON.parse(request.body.toString()) as WireEvent[],
  }))
}

export interface CommittedRow {
  readonly id: string
  readonly org: string | null
  /** The writing transaction, where rows are ordered by it first. */
  readonly xact: string | null
  /** It was committed and has been taken away since. */
  readonly removed: boolean
}

export interface AccountedTable {
  readonly logType: string
  /** How keys are ordered: as numbers, or by the bytes of their text. */
  readonly keys: 'numbers' | 'bytes'
  /** All rows that were ever committed. */
  committed(sql: postgres.Sql): Promise<readonly CommittedRow[]>
}

const requestTable: AccountedTable = {
  logType: 'request',
  keys: 'numbers',
  committed: (sql) => sql<CommittedRow[]>`
    SELECT id, org_id AS org, NULL AS xact, false AS removed FROM spillway.request_audit_log`,
}

export interface Account {
  /** Ids that are committed and never arrived. */
  readonly lost: readonly string[]
  /** Ids that arrived and are not committed. */
  readonly ghosts: readonly string[]
  /** Events of another org than the destination's. */
  readonly foreign: readonly string[]
  /** Ids that arrived under more than one batch id, though no row of the first batch has been removed. */
  readonly repeatedElsewhere: readonly string[]
  /** Batch ids that came with different bytes. */
  readonly changed: readonly string[]
  /** Batches that came more than once. */
  readonly repeatedBatches: number
  /** Ids that came again without a kill since they came before. */
  readonly repeatedUnkilled: readonly string[]
  /** Ids, by first arrival, that came after one that is later in the table's order. */
  readonly outOfOrder: readonly string[]
}

export interface AccountOptions {
  /** Default: the built-in request table. */
  readonly table?: AccountedTable
  /** How many requests there were when a daemon was killed. */
  readonly killsAt?: readonly number[]
}

/** The account of one destination. `org` null means all. */
export async function account(
  sql: postgres.Sql,
  requests: readonly ReceivedRequest[],
  org: string | null,
  { table = requestTable, killsAt = [] }: AccountOptions = {},
): Promise<Account> {
  const everything = await table.committed(sql)
  const rows = everything.filter((row) => org === null || row.org === org)
  const eventId = ({ id }: CommittedRow) => `${table.logType}:${id}`
  const places = new Map([...rows].sort(byPlace(table)).map((row, index) => [eventId(row), index]))
  const removed = new Set(rows.filter((row) => row.removed).map(eventId))

  const batches = new Map<string, Delivery>()
  const firstBatchOf = new Map<string, Delivery>()
  const lastSeenAt = new Map<string, number>()
  const changed = new Set<string>()
  const repeatedElsewhere = new Set<string>()
  const repeatedUnkilled = new Set<string>()
  const foreign: string[] = []
  const outOfOrder: string[] = []
  let repeatedBatches = 0
  let highest = -1
  for (const [index, delivery] of deliveries(requests).entries()) {
    const { batchId, body, events } = delivery
    const before = batches.get(batchId)
    if (before) {
      repeatedBatches += 1
      if (before.body !== body) changed.add(batchId)
    }
    batches.set(batchId, delivery)
    for (const { id, org_id } of events) {
      if (org !== null && org_id !== org) foreign.push(id)
      const seenAt = lastSeenAt.get(id)
      lastSeenAt.set(id, index)
      if (seenAt !== undefined && !killsAt.some((kill) => seenAt < kill && kill <= index))
        repeatedUnkilled.add(id)
      const first = firstBatchOf.get(id)
      if (first) {
        const rowsHaveGone = first.events.some((event) => removed.has(event.id))
        if (first.batchId !== batchId && !rowsHaveGone) repeatedElsewhere.add(id)
        continue
      }
      firstBatchOf.set(id, delivery)
      const place = places.get(id)
      if (place === undefined) continue
      if (place < highest) outOfOrder.push(id)
      else highest = place
    }
  }
  return {
    lost: [...places.keys()].filter((id) => !firstBatchOf.has(id)),
    ghosts: [...firstBatchOf.keys()].filter((id) => !places.has(id)),
    foreign,
    repeatedElsewhere: [...repeatedElsewhere],
    changed: [...changed],
    repeatedBatches,
    repeatedUnkilled: [...repeatedUnkilled],
    outOfOrder,
  }
}

function byPlace({ keys }: AccountedTable): (a: CommittedRow, b: CommittedRow) => number {
  return (a, b) =>
    compareNumbers(a.xact ?? '0', b.xact ?? '0') ||
    (keys === 'numbers' ? compareNumbers(a.id, b.id) : Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)))
}

function compareNumbers(a: string, b: string): number {
  const difference = BigInt(a) - BigInt(b)
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}

export const nothingWrong = {
  lost: [],
  ghosts: [],
  foreign: [],
  repeatedElsewhere: [],
  changed: [],
  outOfOrder: [],
} as const satisfies Partial<Account>
