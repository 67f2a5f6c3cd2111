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

export interface Account {
  /** Ids that are committed and never arrived. */
  readonly lost: readonly string[]
  /** Ids that arrived and are not committed. */
  readonly ghosts: readonly string[]
  /** Events of another org than the destination's. */
  readonly foreign: readonly string[]
  /** Ids that arrived under more than one batch id. */
  readonly repeatedElsewhere: readonly string[]
  /** Batch ids that came with different bytes. */
  readonly changed: readonly string[]
  /** Batches that came more than once. */
  readonly repeatedBatches: number
  /** Ids, by first arrival, that came after a higher one. */
  readonly outOfOrder: readonly string[]
}

/** The account of one destination on the built-in request table. `org` null means all. */
export async function account(
  sql: postgres.Sql,
  requests: readonly ReceivedRequest[],
  org: string | null,
): Promise<Account> {
  const rows = await sql<{ id: string }[]>`
    SELECT id FROM spillway.request_audit_log WHERE ${org}::text IS NULL OR org_id = ${org}`
  const committed = new Set(rows.map(({ id }) => `request:${id}`))
  const bodies = new Map<string, string>()
  const batchOf = new Map<string, string>()
  const changed = new Set<string>()
  const repeatedElsewhere = new Set<string>()
  const foreign: string[] = []
  const outOfOrder: string[] = []
  let repeatedBatches = 0
  let highest = 0n
  for (const { batchId, body, events } of deliveries(requests)) {
    const before = bodies.get(batchId)
    if (before !== undefined) {
      repeatedBatches += 1
      if (before !== body) changed.add(batchId)
    }
    bodies.set(batchId, body)
    for (const { id, org_id } of events) {
      if (org !== null && org_id !== org) foreign.push(id)
      const batch = batchOf.get(id)
      if (batch !== undefined) {
        if (batch !== batchId) repeatedElsewhere.add(id)
        continue
      }
      batchOf.set(id, batchId)
      const position = BigInt(id.slice('request:'.length))
      if (position < highest) outOfOrder.push(id)
      else highest = position
    }
  }
  return {
    lost: [...committed].filter((id) => !batchOf.has(id)),
    ghosts: [...batchOf.keys()].filter((id) => !committed.has(id)),
    foreign,
    repeatedElsewhere: [...repeatedElsewhere],
    changed: [...changed],
    repeatedBatches,
    outOfOrder,
  }
}

export const nothingWrong = {
  lost: [],
  ghosts: [],
  foreign: [],
  repeatedElsewhere: [],
  changed: [],
  outOfOrder: [],
} as const satisfies Partial<Account>
