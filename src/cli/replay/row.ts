/** A row of `spillway.replays` as people and programs are shown it. */
import { eq } from 'drizzle-orm'
import type { Sql } from '../../db/client.ts'
import { replays } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import { formatCount, formatCountOf, formatDuration } from '../format.ts'
import { printable } from '../table.ts'

export type ReplayRow = typeof replays.$inferSelect

export async function findReplay(sql: Sql, id: number): Promise<ReplayRow | undefined> {
  const [row] = await typed(sql).select().from(replays).where(eq(replays.id, id))
  return row
}

/** By its state: who cancels a replay may set nothing else. */
export function isOver({ state }: ReplayRow): boolean {
  return state !== 'waiting' && state !== 'running'
}

/** Every event that was asked for was sent. */
export function isComplete({ state, eventsRefused, eventsTooOld, eventsMissing }: ReplayRow): boolean {
  return state === 'done' && eventsRefused + eventsTooOld + eventsMissing === 0
}

/** What it sends, in a few words. */
export function subjectOf(row: ReplayRow): string {
  const types = row.logType ?? 'all log types'
  switch (row.kind) {
    case 'range':
      return `${types} ${row.fromPosition} to ${row.toPosition}`
    case 'skipped':
      return `skipped range ${row.skippedId}: ${types} ${row.fromPosition} to ${row.toPosition}`
    case 'since':
      return `${types} since ${iso(row.since) ?? 'the beginning'}${until(row.until)}`
    case 'dead_letters':
      return `dead letters of ${types}`
    default:
      return row.kind satisfies never
  }
}

/** `1,200 of 3,000`; without the second where that is not known. */
export function sentOf({ eventsSent, eventsExpected }: ReplayRow): string {
  return eventsExpected === null
    ? formatCount(eventsSent)
    : `${formatCount(eventsSent)} of ${formatCount(eventsExpected)}`
}

/** How it ended, and what follows from it. */
export function resultOf(row: ReplayRow): string[] {
  const { id, state, startedAt, finishedAt, eventsSent, eventsRefused, eventsTooOld, eventsMissing } = row
  if (state === 'cancelled')
    return [`Replay ${id} was cancelled; ${formatCountOf(eventsSent, 'event')} had been sent.`]
  if (state === 'failed') {
    const sent = eventsSent > 0 ? ` ${formatCountOf(eventsSent, 'event')} had been sent.` : ''
    return [printable(`Replay ${id} failed: ${row.lastError ?? ''}${sent}`)]
  }
  const ms = (finishedAt?.getTime() ?? 0) - (startedAt?.getTime() ?? 0)
  const lines = [`Replay ${id} is done: sent ${formatCountOf(eventsSent, 'event')} in ${formatDuration(ms)}.`]
  if (eventsRefused > 0) {
    lines.push(`${formatCountOf(eventsRefused, 'event')} not taken; spillway.dead_letters has the reason.`)
  }
  if (eventsTooOld > 0) {
    lines.push(
      `${formatCountOf(eventsTooOld, 'event')} not sent: too old for the receiver, which would drop them.`,
    )
  }
  if (eventsMissing > 0) {
    lines.push(`${formatCountOf(eventsMissing, 'event')} not sent: the rows are not in the source any more.`)
  }
  return lines
}

export function toJson(row: ReplayRow) {
  return {
    id: row.id,
    destination_id: row.destinationId,
    kind: row.kind,
    log_type: row.logType,
    from_position: row.fromPosition,
    to_position: row.toPosition,
    since: row.since,
    until: row.until,
    skipped_id: row.skippedId,
    state: row.state,
    requested_by: row.requestedBy,
    database_user: row.databaseUser,
    application_name: row.applicationName,
    requested_at: row.requestedAt,
    started_at: row.startedAt,
    finished_at: row.finishedAt,
    events_expected: row.eventsExpected,
    events_sent: row.eventsSent,
    events_refused: row.eventsRefused,
    events_too_old: row.eventsTooOld,
    events_missing: row.eventsMissing,
    next_attempt_at: row.nextAttemptAt,
    last_error: row.lastError,
  }
}

function until(instant: Date | null): string {
  const text = iso(instant)
  return text === undefined ? '' : ` until ${text}`
}

/** Undefined for the infinities, which an application may write too. */
function iso(instant: Date | null): string | undefined {
  return instant === null || Number.isNaN(instant.getTime()) ? undefined : instant.toISOString()
}
