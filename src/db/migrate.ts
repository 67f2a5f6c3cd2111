/**
 * Applies the SQL under `migrations/`, in order and once, in a transaction with an advisory lock: replicas that
 * start together wait for the first. A database that a newer Spillway has migrated is refused.
 *
 * The files, their journal and the table of what has been applied are drizzle's. Its `migrate()` is not used:
 * it would load the query builder, 200 MB of it, into the daemon, takes no lock, and wants the right to
 * create a schema even where there is nothing to do.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type MigrationMeta, readMigrationFiles } from 'drizzle-orm/migrator'
import type postgres from 'postgres'
import { SchemaVersionError } from '../errors.ts'
import { Connection } from './connection.ts'
import { schemaName } from './schema-name.ts'
import { requireServer } from './server-version.ts'

const migrationsFolder = fileURLToPath(new URL('../../migrations', import.meta.url))
/** Any constant will do, as long as nothing else in the database takes it. */
const migrationLock = 0x5917_1a41

export interface MigrationReport {
  /** Tags of the migrations that this call applied. */
  readonly applied: readonly string[]
  /** The newest migration the database has now. */
  readonly version: string
  /** As the server says it. */
  readonly postgresVersion: string
}

/**
 * Throws `ServerVersionError` when the server is too old and `SchemaVersionError` when the database is newer than
 * this program. Rejects when `signal` aborts, also while it waits for another one's migrations.
 */
export async function migrate(url: string, signal?: AbortSignal): Promise<MigrationReport> {
  const connection = new Connection(url, 'spillway migrate')
  const giveUp = () => void connection.end(0)
  signal?.addEventListener('abort', giveUp, { once: true })
  try {
    const postgresVersion = await requireServer(connection.sql)
    await connection.begin()
    await connection.sql`SELECT pg_advisory_xact_lock(${migrationLock})`
    const { missing, empty, newest } = await readSchemaState(connection.sql)
    if (missing.length > 0 && empty) await connection.sql.unsafe(bookkeeping)
    for (const migration of missing) await apply(connection, migration)
    await connection.sql`COMMIT`
    return { applied: missing.map(({ tag }) => tag), version: newest, postgresVersion }
  } finally {
    signal?.removeEventListener('abort', giveUp)
    await connection.end(5)
  }
}

/** As drizzle makes it, so that its own tools find their way. */
const bookkeeping = `
  CREATE SCHEMA IF NOT EXISTS ${schemaName};
  CREATE TABLE IF NOT EXISTS ${schemaName}.migrations (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint)`

async function apply(connection: Connection, migration: Migration): Promise<void> {
  for (const statement of migration.sql) await connection.sql.unsafe(statement)
  await connection.sql`
    INSERT INTO ${connection.sql(`${schemaName}.migrations`)} (hash, created_at)
    VALUES (${migration.hash}, ${migration.folderMillis})`
}

type Migration = MigrationMeta & { readonly tag: string }

export interface SchemaState {
  /** Migrations that the database does not have yet, in order. */
  readonly missing: readonly Migration[]
  /** There is no schema at all. */
  readonly empty: boolean
  /** The newest migration that this program knows. */
  readonly newest: string
}

/** Throws `SchemaVersionError` when the database is newer than this program. */
export async function readSchemaState(sql: postgres.Sql): Promise<SchemaState> {
  const known = knownMigrations()
  const newest = known.at(-1)
  if (!newest) throw new Error('The migrations folder lists no migration.')
  const applied = await newestApplied(sql)
  if (applied > newest.folderMillis) {
    throw new SchemaVersionError(
      `The database has migrations newer than this Spillway knows (its newest is ${newest.tag}).`,
    )
  }
  // A test keeps the journal's stamps rising: what is not newer than the newest applied one has been applied.
  const missing = known.filter(({ folderMillis }) => folderMillis > applied)
  return { missing, empty: applied === 0, newest: newest.tag }
}

/** Makes the question which migrations of this program a database lacks; it may have newer ones. */
export function migrationQuestion(): (sql: postgres.Sql) => Promise<readonly string[]> {
  const known = knownMigrations().map(({ tag, folderMillis }) => ({ tag, folderMillis }))
  return async (sql) => {
    const applied = await newestApplied(sql)
    return known.filter(({ folderMillis }) => folderMillis > applied).map(({ tag }) => tag)
  }
}

function knownMigrations(): Migration[] {
  const journal = readFileSync(`${migrationsFolder}/meta/_journal.json`, 'utf8')
  const { entries } = JSON.parse(journal) as { entries: { tag: string }[] } // our own file, checked by a test
  return readMigrationFiles({ migrationsFolder }).map((migration, index) => ({
    ...migration,
    tag: entries[index]?.tag ?? 'unknown',
  }))
}

async function newestApplied(sql: postgres.Sql): Promise<number> {
  const [found] = await sql`SELECT to_regclass(${`${schemaName}.migrations`}) IS NOT NULL AS exists`
  if (!found?.exists) return 0
  const [row] = await sql`SELECT max(created_at)::text AS newest FROM ${sql(`${schemaName}.migrations`)}`
  return Number(row?.newest ?? 0)
}
