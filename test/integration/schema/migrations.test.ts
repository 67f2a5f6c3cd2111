import { readdir, readFile } from 'node:fs/promises'
import { getTableColumns, getTableName, is } from 'drizzle-orm'
import { PgTable } from 'drizzle-orm/pg-core'
import { describe, expect, test } from 'vitest'
import { isTransient } from '../../../src/db/availability.ts'
import { migrate } from '../../../src/db/migrate.ts'
import * as schema from '../../../src/db/schema.ts'
import { SchemaVersionError } from '../../../src/errors.ts'
import { createTestDatabase } from '../../support/postgres.ts'

const database = await createTestDatabase()
const { sql } = database
const folder = new URL('../../../migrations/', import.meta.url)

interface JournalEntry {
  readonly idx: number
  readonly when: number
  readonly tag: string
}

async function journal(): Promise<readonly JournalEntry[]> {
  // Our own file; the tests below look at what matters in it.
  return JSON.parse(await readFile(new URL('meta/_journal.json', folder), 'utf8')).entries
}

describe('the journal of migrations', () => {
  test('rises in number and in time, so that none is passed over', async () => {
    const entries = await journal()
    for (const [index, { idx, tag, when }] of entries.entries()) {
      expect(idx).toBe(index)
      expect(tag).toMatch(new RegExp(`^${String(index).padStart(4, '0')}_`))
      expect(when).toBeGreaterThan(entries[index - 1]?.when ?? 0)
    }
  })

  test('names every file of the folder', async () => {
    const files = (await readdir(folder)).filter((name) => name.endsWith('.sql'))
    expect(files.sort()).toEqual((await journal()).map(({ tag }) => `${tag}.sql`))
  })
})

describe('the drizzle schema', () => {
  const tables = Object.values<unknown>(schema).filter((value) => is(value, PgTable))

  test.each(tables.map((table) => [getTableName(table), table] as const))(
    'of %s is what the migrations make',
    async (name, table) => {
      const rows = await sql`
      SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
             a.attidentity <> '' OR a.atthasdef AS has_default
      FROM pg_attribute a
      WHERE a.attrelid = ${`spillway.${name}`}::regclass AND a.attnum > 0 AND NOT a.attisdropped`
      const columns = new Map(rows.map((row) => [row.name, row]))
      for (const column of Object.values(getTableColumns(table))) {
        const found = columns.get(column.name)
        expect({ column: column.name, type: found?.type, notNull: found?.not_null }).toEqual({
          column: column.name,
          type: column.getSQLType(),
          notNull: column.notNull,
        })
        if (column.hasDefault) expect([column.name, found?.has_default]).toEqual([column.name, true])
      }
      // What drizzle leaves out must not be needed for an insert through it.
      const known = new Set(Object.values(getTableColumns(table)).map((column) => column.name))
      const needed = rows.filter((row) => row.not_null && !row.has_default && !known.has(row.name))
      expect(needed).toEqual([])
    },
  )
})

describe('migrating', () => {
  test('applies everything to an empty database, and nothing the second time', async () => {
    const fresh = await createTestDatabase({ empty: true })
    const tags = (await journal()).map(({ tag }) => tag)
    const [server] = await sql`SHOW server_version`
    const now = { version: tags.at(-1), postgresVersion: server?.server_version }
    expect(await migrate(fresh.url)).toEqual({ applied: tags, ...now })
    expect(await migrate(fresh.url)).toEqual({ applied: [], ...now })
  })

  test('by several at once applies each migration once', async () => {
    const fresh = await createTestDatabase({ empty: true })
    const reports = await Promise.all([1, 2, 3, 4].map(() => migrate(fresh.url)))
    const applied = reports.flatMap((report) => report.applied)
    expect(applied).toEqual((await journal()).map(({ tag }) => tag))
    expect(await fresh.sql`SELECT FROM spillway.migrations`).toHaveLength(applied.length)
  })

  test('survives that its session is ended while it waits, and leaves nothing half done', async () => {
    const fresh = await createTestDatabase({ empty: true })
    const held = await fresh.sql.reserve()
    await held`SELECT pg_advisory_lock(${0x5917_1a41})`
    const waiting = migrate(fresh.url).catch((error: unknown) => error)
    const asleep = () => fresh.sql<{ pid: number }[]>`
      SELECT pid FROM pg_stat_activity WHERE datname = current_database()
      AND application_name = 'spillway migrate' AND wait_event = 'advisory'`
    let [session] = await asleep()
    while (!session) [session] = await asleep()
    await fresh.sql`SELECT pg_terminate_backend(${session.pid})`
    expect(isTransient(await waiting)).toBe(true)
    await held`SELECT pg_advisory_unlock(${0x5917_1a41})`
    held.release()
    expect((await migrate(fresh.url)).applied).toHaveLength((await journal()).length)
  })

  test('waits for another one longer than the role may run a statement', async () => {
    const fresh = await createTestDatabase({ empty: true })
    const name = new URL(fresh.url).pathname.slice(1)
    await fresh.sql.unsafe(`ALTER DATABASE ${name} SET statement_timeout = '100ms';
                            ALTER DATABASE ${name} SET lock_timeout = '100ms'`)
    const held = await fresh.sql.reserve()
    await held`SELECT pg_advisory_lock(${0x5917_1a41})`
    const waiting = migrate(fresh.url)
    await held`SET statement_timeout = 0`
    await held`SELECT pg_sleep(0.5)`
    await held`SELECT pg_advisory_unlock(${0x5917_1a41})`
    held.release()
    expect((await waiting).applied).toHaveLength((await journal()).length)
  })

  test('refuses a database that a newer version has migrated, and changes nothing', async () => {
    const fresh = await createTestDatabase()
    await fresh.sql`INSERT INTO spillway.migrations (hash, created_at) SELECT 'newer', max(created_at) + 1 FROM spillway.migrations`
    const refused = await migrate(fresh.url).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(SchemaVersionError)
    expect(refused).toMatchObject({ hint: expect.stringContaining('newer version') })
  })

  test('keeps rows and makes the four built-in sources readable as they are registered', async () => {
    const rows =
      await sql`SELECT log_type, relation, to_regclass(relation) IS NOT NULL AS there FROM spillway.sources ORDER BY 1`
    expect(rows.map((row) => [row.log_type, row.there])).toEqual([
      ['access', true],
      ['action', true],
      ['connection', true],
      ['request', true],
    ])
    for (const { relation } of rows) {
      const indexes = await sql`
        SELECT FROM pg_index WHERE indrelid = ${relation}::regclass
        AND pg_get_indexdef(indexrelid) LIKE '%(org_id, id)'`
      expect(indexes).toHaveLength(1)
    }
  })
})
