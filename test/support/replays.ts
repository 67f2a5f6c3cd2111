/** Replays as an application asks for them: by plain SQL. */
import type postgres from 'postgres'
import { deliveries } from './accounting.ts'
import type { ReceivedRequest } from './receiver.ts'

export interface ReplayState {
  readonly state: string
  readonly events_expected: string | null
  readonly events_sent: string
  readonly events_refused: string
  readonly events_too_old: string
  readonly events_missing: string
  readonly last_error: string | null
  readonly next_attempt_at: Date | null
  readonly finished_at: Date | null
}

export async function insertReplay(
  sql: postgres.Sql,
  row: Readonly<Record<string, string | number | null>>,
): Promise<number> {
  const [inserted] = await sql<{ id: string }[]>`INSERT INTO spillway.replays ${sql(row)} RETURNING id`
  return Number(inserted?.id)
}

/** Replays the request table's rows after one id up to another. */
export function insertRange(sql: postgres.Sql, destinationId: number, from: number, to: number) {
  return insertReplay(sql, {
    destination_id: destinationId,
    kind: 'range',
    log_type: 'request',
    from_position: String(from),
    to_position: String(to),
  })
}

export async function replayState(sql: postgres.Sql, id: number): Promise<ReplayState> {
  const [row] = await sql<ReplayState[]>`SELECT * FROM spillway.replays WHERE id = ${id}`
  if (!row) throw new Error(`there is no replay ${id}`)
  return row
}

/** Waits until a replay fits. */
export async function replayed(
  sql: postgres.Sql,
  id: number,
  fits: (state: ReplayState) => boolean = ({ finished_at }) => finished_at !== null,
): Promise<ReplayState> {
  for (;;) {
    const state = await replayState(sql, id)
    if (fits(state)) return state
    await sql`SELECT pg_sleep(0.05)`
  }
}

/** The requests that a replay made. */
export function ofReplay(requests: readonly ReceivedRequest[], id: number): ReceivedRequest[] {
  return requests.filter(({ headers }) => headers['spillway-replay'] === String(id))
}

export function ofLive(requests: readonly ReceivedRequest[]): ReceivedRequest[] {
  return requests.filter(({ headers }) => headers['spillway-replay'] === undefined)
}

/** Ids of the events, in the order in which they came. */
export function eventIds(requests: readonly ReceivedRequest[]): string[] {
  return deliveries(requests).flatMap(({ events }) => events.map(({ id }) => id))
}
