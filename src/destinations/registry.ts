/**
 * Follows the rows of `spillway.destinations` and `spillway.sources`. Each poll asks for the rows whose
 * last writing transaction is not older than the oldest one open at the poll before: nothing that commits
 * in between can be missed, whatever the order of commits. Transactions that deleted rows are noted by a trigger and asked
 * for in the same way. Once a minute the sums of what is known are compared with the table's: after a failover to a
 * standby that lacks the last moments, rows are as they were without any transaction that made them so.
 */
import { type Clock, sleep } from '../clock.ts'
import type { Availability } from '../db/availability.ts'
import type { Sql } from '../db/client.ts'
import { type SourceDefinition, sameDefinition } from '../sources/source.ts'
import type { DestinationRow } from './destination.ts'

export interface RegisteredRow extends DestinationRow {
  /** Whoever holds its lease delivers to the destination. */
  readonly shard: number
}

export interface RegistryChanges {
  /** Rows that are new or were edited, by rising id. */
  readonly upserted: readonly RegisteredRow[]
  readonly removed: readonly number[]
  /** All sources, enabled or not, when any of them changed. */
  readonly sources: readonly SourceDefinition[] | undefined
}

export interface RegistryDeps {
  readonly sql: Sql
  readonly availability: Availability
  /** Told of each look at the tables. */
  reading<T>(look: () => Promise<T>): Promise<T>
  readonly clock: DatabaseClock
  /** Called before a poll's statement, once, however often that has to be repeated. */
  onPoll(): void
  /** Called with one poll's changes; the next poll waits for it. */
  onChanges(changes: RegistryChanges): Promise<void>
}

/** A change applies within a second; half of it is for the poll. */
const pollIntervalMs = 500

const checkIntervalMs = 60_000

/** An answer that took longer says too little of the time. */
const longestSampleMs = 1_000

/**
 * The database's time, so that replicas and restarts agree on it whatever their own clocks say. Between two answers it
 * goes by the monotonic clock: somebody may set the other one.
 */
export class DatabaseClock implements Clock {
  #offsetMs = Date.now() - performance.now()
  #synchronised = false

  /** `askedAt` and `answeredAt` are monotonic. */
  synchronise(databaseNow: number, askedAt: number, answeredAt: number): void {
    // The answer was made somewhere between question and answer; the middle is off by half of it at most.
    if (answeredAt - askedAt > longestSampleMs && this.#synchronised) return
    this.#synchronised = true
    this.#offsetMs = databaseNow - (askedAt + answeredAt) / 2
  }

  now(): number {
    return performance.now() + this.#offsetMs
  }

  monotonic(): number {
    return performance.now()
  }
}

export class Registry {
  readonly #deps: RegistryDeps
  readonly #revisions = new Map<number, string>()
  #sources: readonly SourceDefinition[] | undefined
  /** Transactions before this one had ended when the last poll looked. */
  #nextXid = '0'
  #checkedAt = Number.NEGATIVE_INFINITY

  constructor(deps: RegistryDeps) {
    this.#deps = deps
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(pollIntervalMs, signal)
      if (!signal.aborted) await this.poll(signal)
    }
  }

  /** One look at the tables. Rejects with the signal's reason when it aborts while the database is away. */
  async poll(signal: AbortSignal): Promise<void> {
    const { availability, clock, sql } = this.#deps
    this.#deps.onPoll()
    const isCheck = clock.monotonic() - this.#checkedAt >= checkIntervalMs
    const read = () =>
      availability.retry(async () => {
        const askedAt = clock.monotonic()
        const [answer] = await this.#look(sql, isCheck)
        if (answer) clock.synchronise(answer.now_ms, askedAt, clock.monotonic())
        return answer
      }, signal)
    const row = await this.#deps.reading(read)
    if (!row) return
    const upserted = parseRows(row.changed).filter((each) => this.#revisions.get(each.id) !== each.revision)
    for (const each of upserted) this.#revisions.set(each.id, each.revision)
    const isOther = row.sums !== null && row.sums !== sumsOf(this.#revisions)
    const removed =
      row.deleted || isOther ? await availability.retry(() => this.#findRemoved(sql), signal) : []
    for (const id of removed) this.#revisions.delete(id)
    this.#nextXid = isOther ? '0' : row.next_xid
    if (isCheck) {
      this.#checkedAt = clock.monotonic()
      await availability.retry(() => this.#forget(sql), signal)
    }
    const sources = this.#changedSources(row.sources)
    // A row may have been deleted between the two statements.
    const there = upserted.filter(({ id }) => !removed.includes(id))
    if (there.length > 0 || removed.length > 0 || sources !== undefined) {
      await this.#deps.onChanges({ upserted: there, removed, sources })
    }
  }

  #look(sql: Sql, isCheck: boolean) {
    return sql<PollRow[]>`
      SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now_ms,
             pg_snapshot_xmin(pg_current_snapshot())::text AS next_xid,
             EXISTS (SELECT FROM spillway.destination_deletions WHERE xid >= ${this.#nextXid}::text::xid8) AS deleted,
             CASE WHEN ${isCheck} THEN (${sumsIn(sql)}) END AS sums,
             (SELECT json_agg(json_build_object(
                'id', d.id, 'shard', spillway.shard_of(d.id), 'orgId', d.org_id, 'name', d.name, 'type', d.type, 'config', d.config,
                'logTypes', d.log_types, 'enabled', d.enabled, 'startFrom', d.start_from, 'filter', d.filter,
                'redaction', d.redaction, 'delivery', d.delivery,
                'createdAt', (extract(epoch FROM d.created_at) * 1000)::float8, 'revision', d.version || '/' || d.changed_xid) ORDER BY d.id)
              FROM spillway.destinations d WHERE d.changed_xid >= ${this.#nextXid}::text::xid8)::text AS changed,
             (SELECT json_agg(json_build_object(
                'logType', s.log_type, 'relation', s.relation, 'idColumn', s.id_column, 'orgColumn', s.org_column,
                'timestampColumn', s.timestamp_column, 'ordering', s.ordering,
                'xactColumn', CASE WHEN s.ordering = 'xact' THEN s.xact_column END, 'revision', s.changed_xid::text,
                'excludeColumns', s.exclude_columns, 'enabled', s.enabled) ORDER BY s.log_type)
              FROM spillway.sources s)::text AS sources`
  }

  async #findRemoved(sql: Sql): Promise<number[]> {
    const [row] = await sql<{ ids: string | null }[]>`
      SELECT json_agg(id)::text AS ids FROM spillway.destinations`
    // PostgreSQL built this text in the same statement.
    const there = new Set(JSON.parse(row?.ids ?? '[]') as number[])
    return [...this.#revisions.keys()].filter((id) => !there.has(id))
  }

  /** Whoever has not polled for so long finds at its next check what it missed. */
  async #forget(sql: Sql): Promise<void> {
    await sql`DELETE FROM spillway.destination_deletions WHERE deleted_at < now() - interval '1 hour'`
  }

  #changedSources(text: string | null): readonly SourceDefinition[] | undefined {
    const sources = JSON.parse(text ?? '[]') as SourceDefinition[] // built by the poll's own statement
    const before = this.#sources
    const same =
      before?.length === sources.length &&
      sources.every((source, index) => {
        const other = before[index]
        return other !== undefined && sameDefinition(source, other)
      })
    if (same) return undefined
    this.#sources = sources
    return sources
  }
}

interface PollRow {
  readonly now_ms: number
  readonly next_xid: string
  readonly deleted: boolean
  readonly sums: string | null
  readonly changed: string | null
  readonly sources: string | null
}

function parseRows(text: string | null): RegisteredRow[] {
  return JSON.parse(text ?? '[]') as RegisteredRow[] // built by the poll's own statement
}

/** Number, versions and transactions of all rows: equal where all are known as they are, but for the oddest coincidence. */
function sumsOf(revisions: ReadonlyMap<number, string>): string {
  let versions = 0n
  let xids = 0n
  for (const revision of revisions.values()) {
    const [version = '', xid = ''] = revision.split('/')
    versions += BigInt(version)
    xids += BigInt(xid)
  }
  return [revisions.size, versions, xids].join('/')
}

function sumsIn(sql: Sql) {
  return sql`
    SELECT count(*) || '/' || coalesce(sum(version), 0) || '/' || coalesce(sum(changed_xid::text::numeric), 0)
    FROM spillway.destinations`
}
