/** What the tests of the triggers share: destinations, cursors, and a source of a test's own. */
import { randomBytes } from 'node:crypto'
import postgres from 'postgres'
import { FleetStore } from '../../../src/delivery/fleet-store.ts'
import { resolveSource } from '../../../src/sources/catalog.ts'
import { Reader } from '../../../src/sources/reader.ts'
import type { Scope } from '../../../src/sources/selection.ts'
import { type TestDatabase, whenDone } from '../../support/postgres.ts'
import { define, sourcePool } from '../reading/watching.ts'

/** A log type with a table of its own, so that tests do not meet. */
export interface OwnSource {
  readonly logType: string
  readonly relation: string
  /** Inserts rows; returns their ids. */
  insert(count?: number, client?: postgres.Sql): Promise<string[]>
  /** Inserts a destination on it. */
  destination(changes?: Record<string, unknown>, client?: postgres.Sql): Promise<number>
  /** Ids of the rows that a destination is to receive, as the daemon would read them now. */
  receives(destinationId: number): Promise<string[]>
}

export function session(database: TestDatabase): postgres.Sql {
  const own = postgres(database.url, { max: 1, onnotice: () => {} })
  whenDone(() => own.end())
  return own
}

export async function insertDestination(
  client: postgres.Sql,
  logTypes: readonly string[],
  changes: Record<string, unknown> = {},
): Promise<number> {
  const row = { name: 'test', type: 'http', log_types: logTypes, ...changes }
  const [inserted] = await client`INSERT INTO spillway.destinations ${client(row)} RETURNING id`
  return Number(inserted?.id)
}

export async function makeSource(database: TestDatabase): Promise<OwnSource> {
  const { sql } = database
  const logType = `t${randomBytes(4).toString('hex')}`
  const relation = `public.${logType}`
  await sql.unsafe(
    `CREATE TABLE ${relation} (id bigserial PRIMARY KEY, org_id text, at timestamptz DEFAULT now())`,
  )
  await sql`
    INSERT INTO spillway.sources (log_type, relation, org_column, timestamp_column)
    VALUES (${logType}, ${relation}, 'org_id', 'at')`
  return ownSource(database, logType, relation)
}

export function ownSource(database: TestDatabase, logType: string, relation: string): OwnSource {
  const { sql } = database
  return {
    logType,
    relation,
    async insert(count = 1, client = sql) {
      const rows = await client.unsafe<{ id: string }[]>(
        `INSERT INTO ${relation} (org_id) SELECT 'a' FROM generate_series(1, ${count}) RETURNING id`,
      )
      return rows.map(({ id }) => String(id))
    },
    destination: (changes, client = sql) => insertDestination(client, [logType], changes),
    async receives(destinationId) {
      const cursor = (await new FleetStore(sql).load([destinationId]))
        .get(destinationId)
        ?.cursors.get(logType)
      if (!cursor) throw new Error('the destination has no cursor')
      const pool = sourcePool(database.url)
      const source = await resolveSource(pool, define({ logType, relation }))
      const scope: Scope = { orgId: null, ...(cursor.start ? { start: cursor.start } : {}) }
      const range = { after: cursor.position, upTo: '9000000000000000' }
      const { rows } = await new Reader(pool, source).readPage(scope, range, { rows: 10_000, bytes: 1e9 })
      return rows.map(({ position }) => position)
    },
  }
}

export async function cursorOf(sql: postgres.Sql, destinationId: number, logType: string) {
  const [row] = await sql`
    SELECT position, frozen, start_xid::text, start_until FROM spillway.cursors
    WHERE destination_id = ${destinationId} AND log_type = ${logType}`
  return row
}

export async function stateOf(sql: postgres.Sql, destinationId: number) {
  const [row] = await sql`SELECT * FROM spillway.delivery_state WHERE destination_id = ${destinationId}`
  return row
}

export async function storeHorizon(sql: postgres.Sql, logType: string, horizon: string): Promise<void> {
  await sql`
    INSERT INTO spillway.source_state (log_type, horizon) VALUES (${logType}, ${horizon})
    ON CONFLICT (log_type) DO UPDATE SET horizon = excluded.horizon`
}
