/** One run of the fault points: a destination for each, one kill for all, and a daemon that goes on afterwards. */
import type postgres from 'postgres'
import { briefLease, startDaemon } from './daemon.ts'
import { insertDestination } from './destinations.ts'
import { type FaultPoint, type HeldTable, mostHeldWrites, WriteFaults } from './fault-points.ts'
import { hang, type ReceivedRequest, type Reply } from './receiver.ts'
import { createScene } from './scene.ts'

export interface FaultScenario {
  readonly tables: readonly HeldTable[]
  readonly rows: number
  readonly delivery: postgres.JSONValue
  readonly env: Readonly<Record<string, string>>
  /** Writes of several destinations may share statements: whoever is held then holds others too. */
  readonly together?: true
  /** What the endpoint answers to these rows of a destination, by their numbers from 1. */
  answer(rows: readonly number[]): number
  /** Resolves when a destination has come to its end. */
  ended(sql: postgres.Sql, destination: FaultDestination): Promise<void>
}

export interface FaultDestination {
  readonly id: number
  readonly org: string
  /** Undefined: nothing is done to it. */
  readonly point: FaultPoint | undefined
  /** Every request that was answered with 2xx, or was not answered because of the kill: the rows may have been taken. */
  readonly taken: { readonly batchId: string; readonly rows: readonly number[]; readonly body: string }[]
  requests: number
}

export interface FaultRun {
  readonly sql: postgres.Sql
  readonly destinations: readonly FaultDestination[]
  /** How many of the writes that were held were of several destinations. */
  readonly heldTogether: number
  /** Of the destination to which nothing was done. */
  readonly requests: number
  writes(table: HeldTable): Promise<number>
}

/** Groups of points that can be held at once. */
export function groupPoints(points: readonly FaultPoint[]): FaultPoint[][] {
  const groups: FaultPoint[][] = []
  for (const point of points) {
    const fits = (group: readonly FaultPoint[]) =>
      point.kind === 'request' || group.filter(({ kind }) => kind !== 'request').length < mostHeldWrites
    const group = groups.find(fits)
    if (group) group.push(point)
    else groups.push([point])
  }
  return groups
}

/** `points`: of each destination beside the one to which nothing is done. */
export async function runFaults(
  scenario: FaultScenario,
  points: readonly (FaultPoint | undefined)[],
): Promise<FaultRun> {
  const together = scenario.together === true
  const { url, sql, receiver } = await createScene()
  const faults = new WriteFaults(sql)
  await faults.install(scenario.tables, together)
  const destinations: FaultDestination[] = []
  for (const point of [undefined, ...points]) {
    const org = `org-${destinations.length}`
    const id = await insertDestination(sql, {
      url: `${receiver.url}/${destinations.length}`,
      org,
      delivery: scenario.delivery,
    })
    await faults.watch(id, scenario.tables, point)
    destinations.push({ id, org, point, taken: [], requests: 0 })
    await sql`
      INSERT INTO spillway.request_audit_log (org_id, status)
      SELECT ${org}, number FROM generate_series(1, ${scenario.rows}::int) AS number`
  }
  let killed = false
  let requestsHeld = 0
  receiver.always({
    choose: (request): Reply => {
      const destination = destinations[Number(request.path.slice(1))]
      if (!destination) throw new Error(`nobody is at ${request.path}`)
      destination.requests += 1
      const { point, requests } = destination
      const isHeld = !killed && point?.kind === 'request' && point.occurrence === requests
      const rows = rowsOf(request)
      const status = scenario.answer(rows)
      if (status < 300) {
        destination.taken.push({
          batchId: request.headers['webhook-id'] ?? '',
          rows,
          body: request.body.toString(),
        })
      }
      if (!isHeld) return { status }
      requestsHeld += 1
      return hang
    },
  })
  const heldRequests = points.filter((point) => point?.kind === 'request').length
  const heldWrites = points.filter((point) => point && point.kind !== 'request').length
  const env = { ...briefLease, SPILLWAY_INTER_BATCH_DELAY_MS: '0', ...scenario.env }
  const daemon = await startDaemon(url, env)
  const heldTogether = await faults.held(heldWrites)
  while (requestsHeld < heldRequests) await sql`SELECT pg_sleep(0.02)`
  const [untouched] = destinations
  if (untouched && !together) await scenario.ended(sql, untouched)
  const writes = Object.fromEntries(
    await Promise.all(
      scenario.tables.map(async (table) => [table, await faults.writesOf(untouched?.id ?? 0, table)]),
    ),
  )
  const requests = untouched?.requests ?? 0
  killed = true
  daemon.kill('SIGKILL')
  await daemon.exited
  await faults.resolve()
  const next = await startDaemon(url, env)
  for (const destination of destinations) await scenario.ended(sql, destination)
  await next.stop()
  return { sql, destinations, heldTogether, requests, writes: async (table) => writes[table] ?? 0 }
}

function rowsOf(request: ReceivedRequest): number[] {
  const events = JSON.parse(request.body.toString()) as { data: { status: number } }[]
  return events.map(({ data }) => data.status)
}
