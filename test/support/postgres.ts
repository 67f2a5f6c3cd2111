/** A migrated database of a test file's own, cloned from the run's template and dropped at the file's end. */
import { randomBytes } from 'node:crypto'
import postgres from 'postgres'
import { afterAll, inject, onTestFinished, TestRunner } from 'vitest'
import { templateDatabase } from './global-setup.ts'

export interface TestDatabase {
  readonly url: string
  /** A client for the test itself. The code under test makes its own from `url`. */
  readonly sql: postgres.Sql
  /** Called at the end by itself. Throws if code under test has left connections open. */
  drop(): Promise<void>
}

export interface TestDatabaseOptions {
  /** Without Spillway's migrations, e.g. to test them. */
  readonly empty?: boolean
}

/** A server notices only after a moment that a client has closed its connection. */
const CONNECTIONS_GONE_WITHIN_MS = 3_000

/**
 * Call it at the top of a test file (`const database = await createTestDatabase()`) to share it between the
 * file's tests, or inside a test. It is dropped after the hooks that were registered later, so a file's own
 * `afterAll` closes what it opened first.
 */
export async function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const server = inject('postgresUrl')
  const name = `test_${randomBytes(6).toString('hex')}`
  await administer(server, async (admin) => {
    await (options.empty
      ? admin`create database ${admin(name)}`
      : admin`create database ${admin(name)} template ${admin(templateDatabase)}`)
  })
  const url = `${server}${name}`
  const sql = postgres(url, { max: 10, onnotice: () => {}, connection: { application_name: 'test' } })
  let dropped: Promise<void> | undefined
  const drop = () => {
    dropped ??= dropDatabase(server, name, sql)
    return dropped
  }
  whenDone(drop)
  return { url, sql, drop }
}

/** Runs `cleanUp` at the end of the running test or, outside of tests, of the file. */
export function whenDone(cleanUp: () => Promise<void>): void {
  if (TestRunner.getCurrentTest()) onTestFinished(cleanUp)
  else afterAll(cleanUp)
}

async function dropDatabase(server: string, name: string, sql: postgres.Sql): Promise<void> {
  await sql.end({ timeout: 5 })
  await administer(server, async (admin) => {
    const leaked = await leakedConnections(admin, name)
    // A transaction prepared by a test would keep the database from being dropped.
    const prepared = await admin`select gid from pg_prepared_xacts where database = ${name}`
    if (prepared.length === 0) await admin`drop database ${admin(name)} with (force)`
    if (leaked.length > 0) {
      const list = leaked.map((row) => `  pid ${row.pid} ${row.application_name}: ${row.query}`).join('\n')
      throw new Error(`Connections were left open at the end of the tests:\n${list}`)
    }
    if (prepared.length > 0) {
      throw new Error(`Prepared transactions were left open: ${prepared.map((row) => row.gid).join(', ')}`)
    }
  })
}

async function leakedConnections(admin: postgres.Sql, name: string): Promise<readonly postgres.Row[]> {
  const deadline = performance.now() + CONNECTIONS_GONE_WITHIN_MS
  for (;;) {
    const open = await admin`
      select pid, application_name, left(query, 120) as query from pg_stat_activity
      where datname = ${name} and application_name like 'spillway%'`
    if (open.length === 0 || performance.now() > deadline) return open
    await admin`select pg_sleep(0.02)`
  }
}

async function administer(server: string, work: (admin: postgres.Sql) => Promise<void>): Promise<void> {
  const admin = postgres(`${server}postgres`, { max: 1, onnotice: () => {} })
  try {
    await work(admin)
  } finally {
    await admin.end()
  }
}

/** A session of its own, for transactions that stay open; closed at the end of the test or file. */
export function session(url: string): postgres.Sql {
  return connect(url, 1)
}

/** For a test's own use of a server that is not the run's. Closed at the end of the test or file. */
export function connect(url: string, max = 4): postgres.Sql {
  const sql = postgres(url, { max, onnotice: () => {}, connection: { application_name: 'test' } })
  whenDone(() => sql.end({ timeout: 1 }))
  return sql
}
