/**
 * Setting a source's cursors anew after it went back in time (rewind.ts), so that no row is lost. What was
 * delivered before and cannot be told from what came since is delivered again, under the same event ids.
 *
 * Under the ordering `id`, and under `xact` within one cluster, cursors move back: to the table's beginning,
 * or to where the operator says that the new rows begin. Rows of another cluster carry transactions that this
 * one has not reached: they are given a transaction of its own, undelivered ones a new one, delivered ones one
 * that lies before all cursors. That takes UPDATE on the table, once.
 */
import type { SourceSql, Sql } from '../db/client.ts'
import { SourceError } from '../errors.ts'
import { quoteIdentifier } from '../events/columns.ts'
import { resolveSource } from './catalog.ts'
import { HorizonStore } from './horizon-store.ts'
import { orderOf } from './order.ts'
import { comparePositions, type Position, parseXactPosition } from './position.ts'
import { Reader } from './reader.ts'
import type { Memory } from './rewind.ts'
import type { Source, SourceDefinition } from './source.ts'
import { Tenant } from './tenant.ts'

/** Where the new rows begin. */
export type RebaseFrom =
  | { readonly kind: 'beginning' }
  | { readonly kind: 'position'; readonly position: Position }
  /** ISO 8601. */
  | { readonly kind: 'instant'; readonly instant: string }

export interface CursorThere {
  readonly destinationId: number
  readonly name: string
  readonly orgId: string | null
  readonly position: Position
}

export interface RebasedCursor extends CursorThere {
  readonly to: Position
  /** Rows after `to` that are there now: what the destination will get. */
  readonly events: number
}

export interface Rebase {
  readonly cursors: readonly RebasedCursor[]
  /** How far the source was read in its former life. */
  readonly horizon: Position | undefined
  /** Rows of another cluster's transactions; they are given others before the cursors are set. */
  readonly foreignRows: number
}

export interface RebaseDeps {
  readonly sql: Sql
  readonly source: SourceSql
  /** A connection to the audit tables that may write. */
  writable(): Promise<Sql>
}

/** What a rebase would do; changes nothing. Throws `SourceError` when the source cannot be read. */
export async function planRebase(
  deps: RebaseDeps,
  definition: SourceDefinition,
  from: RebaseFrom,
): Promise<Rebase> {
  const source = await resolveSource(deps.source, definition)
  const reader = new Reader(deps.source, source)
  const memory = await new HorizonStore(deps.sql).recall(definition)
  const foreignRows = definition.ordering === 'xact' ? await countForeign(deps.source, source) : 0
  const start = await findStart(deps.source, source, reader, memory, from)
  const cursors = await readCursors(deps.sql, definition.logType)
  const rebased = await Promise.all(
    cursors.map(async (cursor): Promise<RebasedCursor> => {
      const to = comparePositions(start, cursor.position) < 0 ? start : cursor.position
      const events = await reader.count({ orgId: cursor.orgId }, { after: to, upTo: endOfTime(definition) })
      return { ...cursor, to, events }
    }),
  )
  return { cursors: rebased, horizon: memory.horizon, foreignRows }
}

/** Does it. What the destinations had not got in the source's former life is recorded (I5). */
export async function rebase(
  deps: RebaseDeps,
  definition: SourceDefinition,
  from: RebaseFrom,
): Promise<Rebase> {
  const plan = await planRebase(deps, definition, from)
  const adopted = plan.foreignRows > 0 ? await adoptForeignRows(deps, definition, plan.cursors) : undefined
  const cursors = plan.cursors.map((cursor) => ({ ...cursor, to: adopted ?? cursor.to }))
  const moves = cursors.map(({ destinationId, to }) => ({ destination_id: destinationId, to }))
  await deps.sql.begin(async (sql) => {
    // What is there now of the former life is delivered; what is gone of it nobody can deliver any more.
    await sql`
      INSERT INTO spillway.skipped_ranges (destination_id, log_type, from_position, to_position, event_count, reason)
      SELECT c.destination_id, c.log_type, c.position, s.horizon, NULL, 'source_rewound'
      FROM spillway.cursors c JOIN spillway.source_state s USING (log_type)
      WHERE c.log_type = ${definition.logType}
        AND spillway.position_number(s.horizon) > spillway.position_number(c.position)`
    await sql`
      UPDATE spillway.cursors c
      SET life = gen_random_uuid(), position = m."to", frozen = '{}', start_until = NULL, start_xid = NULL, start_seen = NULL,
          start_snapshot = NULL, updated_at = now()
      FROM jsonb_to_recordset(${JSON.stringify(moves)}::text::jsonb) AS m(destination_id bigint, "to" text)
      WHERE c.destination_id = m.destination_id AND c.log_type = ${definition.logType}`
    await sql`DELETE FROM spillway.source_state WHERE log_type = ${definition.logType}`
    // A new revision: the daemon forgets what it knew of the source and of the cursors.
    await sql`
      UPDATE spillway.sources SET life = gen_random_uuid(), updated_at = clock_timestamp()
      WHERE log_type = ${definition.logType}`
  })
  return { ...plan, cursors }
}

async function readCursors(sql: Sql, logType: string): Promise<CursorThere[]> {
  const rows = await sql<{ id: string; name: string; org_id: string | null; position: string }[]>`
    SELECT d.id::text AS id, d.name, d.org_id, c.position
    FROM spillway.cursors c JOIN spillway.destinations d ON d.id = c.destination_id
    WHERE c.log_type = ${logType} ORDER BY d.id`
  return rows.map(({ id, name, org_id, position }) => ({
    destinationId: Number(id),
    name,
    orgId: org_id,
    position,
  }))
}

async function findStart(
  sql: SourceSql,
  source: Source,
  reader: Reader,
  memory: Memory,
  from: RebaseFrom,
): Promise<Position> {
  switch (from.kind) {
    case 'position':
      return from.position
    case 'instant':
      return (await reader.before(from.instant)) ?? (await endOf(reader, source.definition))
    case 'beginning': {
      const copied = memory.trace !== undefined && memory.trace.cluster !== source.cluster
      const { ordering } = source.definition
      return ordering === 'xact' && copied ? await madeBy(sql, source) : await reader.beginning()
    }
    default:
      return from satisfies never
  }
}

async function endOf(reader: Reader, definition: SourceDefinition): Promise<Position> {
  return (await reader.anchor(endOfTime(definition)))?.position ?? (await reader.beginning())
}

/** Beyond every row; the highest bigint and xid8. */
function endOfTime({ ordering }: SourceDefinition): Position {
  return ordering === 'id' ? '9223372036854775807' : '18446744073709551615'
}

/** The transaction that made the table in this cluster: what was written here carries a later one. */
async function madeBy(sql: SourceSql, { relation }: Source): Promise<Position> {
  const [row] = await sql.query<{ xact: string }>(
    `SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - max(age(a.xmin)))::text AS xact
     FROM pg_attribute a WHERE a.attrelid = to_regclass($1) AND a.attnum > 0`,
    [relation],
  )
  const xact = row?.xact ?? '0'
  return comparePositions(xact, '0') > 0 ? xact : '0'
}

async function countForeign(sql: SourceSql, source: Source): Promise<number> {
  const [row] = await sql.query<{ rows: string }>(
    `SELECT count(*) AS rows FROM ${source.relation} t
     WHERE t.${xactOf(source)} >= pg_snapshot_xmax(pg_current_snapshot())`,
  )
  return Number(row?.rows ?? 0)
}

function xactOf({ definition }: Source): string {
  return quoteIdentifier(definition.xactColumn ?? '')
}

/**
 * One statement, so that rows which commit beside it are not forgotten: their transactions are not older than
 * the oldest one that its snapshot saw open, where the cursors go.
 */
async function adoptForeignRows(
  deps: RebaseDeps,
  definition: SourceDefinition,
  cursors: readonly CursorThere[],
): Promise<Position> {
  const source = await resolveSource(deps.source, definition)
  const column = (name: string | null) => source.allColumns.find((candidate) => candidate.name === name)
  const id = column(definition.idColumn)
  const xact = column(definition.xactColumn)
  const org = column(definition.orgColumn)
  if (!id || !xact) throw new Error('columns that were checked when the source was resolved are gone')
  const order = orderOf(id, xact)
  const tenant = org && new Tenant(org, 't')
  const isOurs = tenant ? `(c.org IS NULL OR ${tenant.expression} = c.org)` : 'c.org IS NULL'
  const undelivered = `
    EXISTS (SELECT FROM c WHERE ${isOurs} AND ${order.afterCursor((after) => after)})`
  const xactColumn = `t.${xactOf(source)}`
  const made = await madeBy(deps.source, source)
  const writtenHere = `(${xactColumn} >= '${made}'::xid8 AND ${xactColumn} < s.next)`
  const rows = cursors
    .filter(({ orgId }) => orgId === null || tenant?.accepts(orgId))
    .map(({ orgId, position }) => ({ org: orgId, ...order.cursorOf(position) }))
  const writable = await deps.writable()
  try {
    const [row] = await writable.unsafe<{ oldest_open: string }[]>(
      `WITH s AS (
         SELECT pg_snapshot_xmin(n.now) AS oldest_open, pg_snapshot_xmax(n.now) AS next
         FROM (SELECT pg_current_snapshot() AS now) n
       ), c AS MATERIALIZED (
         SELECT * FROM jsonb_to_recordset($1::text::jsonb) AS c(org ${tenant?.type ?? 'text'}, ${order.cursorColumns})
       ), adopted AS (
         UPDATE ${source.relation} t
         SET ${xactOf(source)} =
           CASE WHEN ${writtenHere} OR ${undelivered} THEN pg_current_xact_id() ELSE '3'::xid8 END
         FROM s WHERE ${xactColumn} >= s.next OR ${writtenHere} OR ${undelivered}
       )
       SELECT s.oldest_open::text AS oldest_open FROM s`,
      [JSON.stringify(rows)],
    )
    return parseXactPosition(row?.oldest_open ?? '0').xact
  } catch (error) {
    throw new SourceError(
      `source ${definition.logType}: the rows of the other cluster cannot be given transactions of this one: ${error instanceof Error ? error.message : String(error)}`,
      `Run the command once with a role that may UPDATE ${source.relation} (SPILLWAY_SOURCE_DATABASE_URL), with triggers that forbid it disabled.`,
      { cause: error },
    )
  }
}
