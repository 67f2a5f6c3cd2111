/**
 * Applies the SQL under `migrations/`, in order and once, under an advisory lock: replicas that start
 * together wait for the first. A database that a newer Spillway has migrated is refused.
 */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { drizzle } from 'drizzle-orm/postgres-js'
import { migrate as applyMigrations } from 'drizzle-orm/postgres-js/migrator'
import postgres from 'postgres'
import { SchemaVersionError } from '../errors.ts'
import { schemaName } from './schema.ts'

const folder = fileURLToPath(new URL('../../migrations', import.meta.url))
/** Any constant will do, as long as nothing else in the database takes it: "spillway" in hexadecimal digits, cut. */
const migrationLock = 0x5917_1a41

export interface MigrationReport {
  /** Tags of the migrations that this call applied. */
  readonly applied: readonly string[]
  /** The newest migration the database has now. */
  readonly version: string
}

/** Throws `SchemaVersionError` when the database is newer than this program. */
export async function migrate(url: string): Promise<MigrationReport> {
  // One connection: the advisory lock belongs to a session.
  const sql = postgres(url, {
    max: 1,
    onnotice: () => {},
    connection: { application_name: 'spillway migrate' },
  })
  try {
    await sql`SELECT pg_advisory_lock(${migrationLock})`
    const { missing, newest } = await readSchemaState(sql)
    // drizzle runs all in one transaction and compares only with the newest stamp: a test keeps the
    // journal's stamps rising.
    await applyMigrations(drizzle(sql), {
      migrationsFolder: folder,
      migrationsSchema: schemaName,
      migrationsTable: 'migrations',
    })
    return {
      applied: missing,
      version: newest,
    }
  } finally {
    await sql.end({ timeout: 5 })
  }
}

export interface SchemaState {
  /** Tags of the migrations that the database does not have yet, in order. */
  readonly missing: readonly string[]
  /** There is no schema at all. */
  readonly empty: boolean
  /** The newest migration that this program knows. */
  readonly newest: string
}

/** Throws `SchemaVersionError` when the database is newer than this program. */
export async function readSchemaState(sql: postgres.Sql): Promise<SchemaState> {
  const known = await journal()
  const newest = known.at(-1)
  if (!newest) throw new Error('The migrations folder lists no migration.')
  const applied = await newestApplied(sql)
  if (applied > newest.when) {
    throw new SchemaVersionError(
      `The database has migrations newer than this Spillway knows (its newest is ${newest.tag}).`,
    )
  }
  const missing = known.filter(({ when }) => when > applied).map(({ tag }) => tag)
  return { missing, empty: applied === 0, newest: newest.tag }
}

interface JournalEntry {
  readonly when: number
  readonly tag: string
}

async function journal(): Promise<readonly JournalEntry[]> {
  const text = await readFile(`${folder}/meta/_journal.json`, 'utf8')
  const { entries } = JSON.parse(text) as { entries: JournalEntry[] } // our own file, checked by a test
  return entries
}

async function newestApplied(sql: postgres.Sql): Promise<number> {
  const [found] = await sql`SELECT to_regclass(${`${schemaName}.migrations`}) IS NOT NULL AS exists`
  if (!found?.exists) return 0
  const [row] = await sql`SELECT max(created_at)::text AS newest FROM ${sql(`${schemaName}.migrations`)}`
  return Number(row?.newest ?? 0)
}
