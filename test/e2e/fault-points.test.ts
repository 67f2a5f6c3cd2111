/** A kill at every step of what follows a refusal: whatever was lost with it, the account adds up (I1 to I5). */
import type postgres from 'postgres'
import { describe, expect, it } from 'vitest'
import { settled } from '../support/destinations.ts'
import { describePoint, type FaultPoint, type HeldTable } from '../support/fault-points.ts'
import { type FaultDestination, type FaultScenario, groupPoints, runFaults } from '../support/fault-run.ts'

/** Every step that the run without faults took. */
function everyPoint(requests: number, writes: readonly (readonly [HeldTable, number])[]): FaultPoint[] {
  const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1)
  return [
    ...upTo(requests).map((occurrence): FaultPoint => ({ kind: 'request', occurrence })),
    ...writes.flatMap(([table, count]) =>
      upTo(count).flatMap((occurrence): FaultPoint[] => [
        { kind: 'lost', table, occurrence },
        { kind: 'unheard', table, occurrence },
      ]),
    ),
  ]
}

/** What became of each row of a destination, by its number. */
async function fatesOf(sql: postgres.Sql, { id, org, taken }: FaultDestination) {
  const rows = await sql<{ number: number; dead: number; skipped: number }[]>`
    SELECT r.status AS number,
           (SELECT count(*) FROM spillway.dead_letters d
            WHERE d.destination_id = ${id} AND d.event_id = 'request:' || r.id)::int AS dead,
           (SELECT count(*) FROM spillway.skipped_ranges s
            WHERE s.destination_id = ${id} AND r.id > s.from_position::bigint AND r.id <= s.to_position::bigint)::int AS skipped
    FROM spillway.request_audit_log r WHERE r.org_id = ${org} ORDER BY r.id`
  return rows.map((row) => ({ ...row, taken: taken.some((batch) => batch.rows.includes(row.number)) }))
}

/** Rows that came under different batch ids, and ids that came with different bytes (I4). */
function repeatsOf({ taken }: FaultDestination) {
  const bodies = new Map<string, string>()
  const batchOf = new Map<number, string>()
  const wrong: string[] = []
  for (const { batchId, rows, body } of taken) {
    if ((bodies.get(batchId) ?? body) !== body) wrong.push(`${batchId} came with other bytes`)
    bodies.set(batchId, body)
    for (const row of rows) {
      if ((batchOf.get(row) ?? batchId) !== batchId) wrong.push(`row ${row} came under another batch id`)
      batchOf.set(row, batchId)
    }
  }
  return wrong
}

const groupsAtOnce = 2

type Check = (sql: postgres.Sql, destination: FaultDestination) => Promise<void>

async function checkGroup(scenario: FaultScenario, group: readonly FaultPoint[], check: Check) {
  const { sql, destinations } = await runFaults(scenario, group)
  for (const destination of destinations) {
    const at = destination.point ? describePoint(destination.point) : 'nothing'
    try {
      await check(sql, destination)
    } catch (error) {
      throw new Error(`after a kill at ${at}`, { cause: error })
    }
  }
}

async function everywhere(scenario: FaultScenario, check: Check) {
  const reference = await runFaults(scenario, [])
  const counts = await Promise.all(
    scenario.tables.map(async (table) => [table, await reference.writes(table)] as const),
  )
  const points = everyPoint(reference.requests, counts)
  expect(points.length).toBeGreaterThan(10)
  const groups = groupPoints(points)
  const checkNext = async () => {
    for (let group = groups.shift(); group; group = groups.shift()) {
      await checkGroup(scenario, group, check)
    }
  }
  // Some at once, since they mostly wait: for a schedule, for a daemon to start and to end.
  const ends = await Promise.allSettled(Array.from({ length: groupsAtOnce }, checkNext))
  for (const end of ends) if (end.status === 'rejected') throw end.reason
}

describe('a kill', () => {
  // The last event too: nothing comes after it that could tell whose fault it is.
  const poison = [3, 9]

  it('at any step of a halving leaves every event delivered or a dead letter, and every batch as it was', async () => {
    await everywhere(
      {
        tables: ['cursors', 'dead_letters'],
        rows: 9,
        delivery: { batchSize: 9 },
        env: { SPILLWAY_BACKOFF_SCHEDULE_MS: '200' },
        answer: (rows) => (rows.some((row) => poison.includes(row)) ? 400 : 200),
        ended: (sql, { id, org }) => settled(sql, id, org),
      },
      async (sql, destination) => {
        const fates = await fatesOf(sql, destination)
        expect(fates).toEqual(
          fates.map(({ number }) => {
            const isPoison = poison.includes(number)
            return { number, dead: isPoison ? 1 : 0, skipped: 0, taken: !isPoison }
          }),
        )
        expect(repeatsOf(destination)).toEqual([])
      },
    )
  })

  it('at any step of an abandonment leaves a record of exactly what was given up', async () => {
    await everywhere(
      {
        tables: ['cursors', 'delivery_state', 'skipped_ranges'],
        rows: 5,
        delivery: { batchSize: 2, maxBacklogAgeMs: 700 },
        env: { SPILLWAY_BACKOFF_SCHEDULE_MS: '350' },
        answer: () => 500,
        ended: (sql, { id, org }) => settled(sql, id, org),
      },
      async (sql, destination) => {
        const fates = await fatesOf(sql, destination)
        expect(fates).toEqual(fates.map(({ number }) => ({ number, dead: 0, skipped: 1, taken: false })))
        const ranges = await sql`
          SELECT event_count, reason FROM spillway.skipped_ranges WHERE destination_id = ${destination.id}`
        expect(ranges).toEqual([{ event_count: '5', reason: 'backlog_expired' }])
      },
    )
  })

  it('in a statement that moves the cursors of many leaves each as it was, or moved', async () => {
    const others = Array.from({ length: 20 }, () => undefined)
    let heldTogether = 0
    for (const occurrence of [1, 2, 3, 4]) {
      for (const kind of ['lost', 'unheard'] as const) {
        const run = await runFaults(
          {
            tables: ['cursors'],
            together: true,
            rows: 12,
            delivery: { batchSize: 2 },
            env: {},
            answer: () => 200,
            ended: (sql, { id, org }) => settled(sql, id, org),
          },
          [{ kind, table: 'cursors', occurrence }, ...others],
        )
        heldTogether += run.heldTogether
        for (const destination of run.destinations) {
          const fates = await fatesOf(run.sql, destination)
          expect(fates).toEqual(fates.map(({ number }) => ({ number, dead: 0, skipped: 0, taken: true })))
          expect(repeatsOf(destination)).toEqual([])
        }
        const counted =
          await run.sql`SELECT DISTINCT events_delivered::int AS events FROM spillway.delivery_state`
        expect(counted).toEqual([{ events: 12 }])
      }
    }
    expect(heldTogether).toBeGreaterThan(4)
  })
})
