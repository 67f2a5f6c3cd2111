import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { migrate } from '../../../src/db/migrate.ts'
import { createTestDatabase, type TestDatabase, type TestDatabaseOptions } from '../../support/postgres.ts'
import { programEnv } from '../../support/program.ts'
import { closedPort } from '../../support/receiver.ts'
import { type Ran, spillway } from './spillway.ts'

const database = await createTestDatabase()
const main = fileURLToPath(new URL('../../../src/main.ts', import.meta.url))

/** As a user starts it; for what writes to the process's own stdout. */
async function spawned(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ran> {
  const child = spawn(process.execPath, [main, ...args], { env: { ...programEnv, ...env } })
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ])
  return { code, stdout, stderr }
}

const commands = [
  ['run'],
  ['migrate'],
  ['demo'],
  ['destinations'],
  ...['list', 'add', 'test', 'enable', 'disable'].map((command) => ['destinations', command]),
  ['sources'],
  ...['list', 'add'].map((command) => ['sources', command]),
  ['secret'],
  ...['encrypt', 'rotate'].map((command) => ['secret', command]),
  ['replay'],
  ...['list', 'skipped', 'cancel'].map((command) => ['replay', command]),
  ['doctor'],
]

describe('the program', () => {
  test.each(commands.map((command) => ({ name: command.join(' '), command })))(
    '$name has --help',
    async ({ name, command }) => {
      const ran = await spillway([...command, '--help'], { env: {} })
      expect(ran).toMatchObject({ code: 0, stderr: '' })
      expect(ran.stdout).toContain(`Usage: spillway ${name}`)
    },
  )

  test('keeps what it has compiled for the next start, inside the clone', async () => {
    const env = { NODE_COMPILE_CACHE: undefined, NODE_DEBUG_NATIVE: 'COMPILE_CACHE' }
    const { code, stderr } = await spawned(['--version'], env)
    expect(code).toBe(0)
    const cache = fileURLToPath(new URL('../../../.spillway/compile-cache', import.meta.url))
    expect(stderr).toContain(`resolved path ${cache} +`)
  })

  test('ends in silence when nobody reads what it prints any more', async () => {
    const child = spawn(process.execPath, [main, 'destinations', '--help'], { env: programEnv })
    child.stdout.destroy()
    const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  })

  test.each(
    [
      [],
      ['nonsense'],
      ['destinations'],
      ['destinations', 'nonsense'],
      ['destinations', 'test'],
      ['destinations', 'list', '--nonsense'],
      ['sources', 'add'],
      ['demo', '--seconds', '0'],
      ['demo', '--seconds', 'ten'],
      ['migrate', 'extra'],
      ['doctor', 'extra'],
    ].map((args) => ({ args })),
  )('$args is bad usage', async ({ args }) => {
    const ran = await spillway(args, { env: {} })
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).not.toBe('')
  })
})

describe('a command without its schema', () => {
  const reading = [['destinations', 'list'], ['destinations', 'test', '1'], ['sources', 'list'], ['doctor']]

  test('says to migrate, and works after that', async () => {
    const empty = await createTestDatabase({ empty: true })
    const env = { DATABASE_URL: empty.url }
    for (const args of reading) {
      const ran = await spillway(args, { env })
      expect(ran).toMatchObject({ code: 1, stdout: '' })
      expect(ran.stderr).toContain('spillway migrate')
    }
    const migrated = await spillway(['migrate', '--json'], { env })
    expect(JSON.parse(migrated.stdout)).toMatchObject({ applied: expect.arrayContaining(['0000_spillway']) })
    expect((await spillway(['migrate'], { env })).stdout).toContain('Nothing to do')
    expect((await spillway(['destinations', 'list'], { env })).code).toBe(0)
  })

  test('tells an earlier schema and a newer one', async () => {
    const other = await createTestDatabase({ empty: true })
    await migrate(other.url)
    const env = { DATABASE_URL: other.url }
    const moveVersion = (by: number) => other.sql`
      UPDATE spillway.migrations SET created_at = created_at + ${by}
      WHERE created_at = (SELECT max(created_at) FROM spillway.migrations)`
    await moveVersion(-1)
    const earlier = await spillway(['sources', 'list'], { env })
    expect(earlier).toMatchObject({ code: 1, stderr: expect.stringContaining('an earlier Spillway') })
    await moveVersion(2)
    for (const args of [...reading, ['migrate']]) {
      const newer = await spillway(args, { env })
      expect(newer).toMatchObject({ code: 1, stdout: '' })
      expect(newer.stderr).toContain('newer than this Spillway knows')
      expect(newer.stderr).toContain('Start the newer version again')
    }
    const ran = await spawned(['run'], { ...env, SPILLWAY_HTTP_PORT: '0' })
    expect(ran.code).toBe(1)
    expect(ran.stdout).toContain('"event":"daemon.failed"')
    expect(ran.stdout).toContain('newer than this Spillway knows')
    expect(ran.stdout).toContain('Start the newer version again')
  })
})

describe('a server that is too old', () => {
  /** There is no old one at hand: here a function of the same name speaks for it. */
  async function agedDatabase(options: TestDatabaseOptions): Promise<TestDatabase> {
    const aged = await createTestDatabase(options)
    const { pathname } = new URL(aged.url)
    await aged.sql.unsafe(`
      CREATE FUNCTION public.current_setting(name text) RETURNS text LANGUAGE sql AS $$
        SELECT CASE name WHEN 'server_version' THEN '13.23' WHEN 'server_version_num' THEN '130023' END $$;
      ALTER DATABASE ${pathname.slice(1)} SET search_path = public, pg_catalog`)
    return aged
  }

  const says = ['PostgreSQL 13.23 is too old', 'needs 14 or later', 'Upgrade the server']

  test('is refused by migrate, run and the commands, and left as it is', async () => {
    const aged = await agedDatabase({ empty: true })
    const env = { DATABASE_URL: aged.url }
    for (const args of [['migrate'], ['destinations', 'list'], ['sources', 'list']]) {
      const ran = await spillway(args, { env })
      expect(ran).toMatchObject({ code: 1, stdout: '' })
      for (const said of says) expect(ran.stderr).toContain(said)
    }
    const ran = await spawned(['run'], { ...env, SPILLWAY_HTTP_PORT: '0' })
    expect(ran.code).toBe(1)
    expect(ran.stdout).toContain('"event":"daemon.failed"')
    for (const said of says) expect(ran.stdout).toContain(said)
    expect(await aged.sql`SELECT FROM pg_namespace WHERE nspname = 'spillway'`).toHaveLength(0)
  })

  test('is refused for audit tables', async () => {
    const aged = await agedDatabase({})
    const env = { DATABASE_URL: database.url, SPILLWAY_SOURCE_DATABASE_URL: aged.url }
    const ran = await spillway(['sources', 'list', '--json'], { env })
    for (const said of says) expect(ran.stdout).toContain(said)
  })
})

describe('a database that cannot be used', () => {
  const list = (url: string, more: NodeJS.ProcessEnv = {}) =>
    spillway(['sources', 'list'], { env: { DATABASE_URL: url, ...more } })

  function changed(change: (url: URL) => void): string {
    const url = new URL(database.url)
    url.password = 'hunter2-s3cret'
    change(url)
    return url.href
  }

  async function expectClear(ran: Promise<Ran>, ...says: readonly string[]): Promise<void> {
    const { code, stdout, stderr } = await ran
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr.trim().split('\n')).toHaveLength(2)
    for (const said of says) expect(stderr).toContain(said)
    expect(stderr).not.toContain('s3cret')
  }

  test('is told when nobody listens', async () => {
    const port = await closedPort()
    const url = changed((each) => {
      each.port = String(port)
    })
    await expectClear(list(url), `127.0.0.1:${port}`, 'ECONNREFUSED', 'DATABASE_URL')
    await expectClear(
      spillway(['migrate'], { env: { DATABASE_URL: url } }),
      `127.0.0.1:${port}`,
      'ECONNREFUSED',
    )
  })

  test('is told when the password is wrong', async () => {
    const url = changed(() => {})
    await expectClear(list(url), 'password authentication failed', 'password or the user is wrong')
    await expectClear(
      list(database.url, { SPILLWAY_SOURCE_DATABASE_URL: url }),
      'password authentication failed',
      'SPILLWAY_SOURCE_DATABASE_URL',
    )
  })

  test('is told when it does not exist', async () => {
    const url = new URL(database.url)
    url.pathname = '/nowhere'
    await expectClear(list(url.href), '/nowhere', 'does not exist')
  })
})

describe('run', () => {
  test('names all bad variables at once and exits 2', async () => {
    const ran = await spawned(['run'], {
      DATABASE_URL: 'mysql://user:hunter2@host/db',
      SPILLWAY_BATCH_SIZE: 'many',
      SPILLWAY_POLL_INTERVALL_MS: '5',
      LOG_LEVEL: 'loud',
    })
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    for (const name of ['DATABASE_URL', 'SPILLWAY_BATCH_SIZE', 'SPILLWAY_POLL_INTERVALL_MS', 'LOG_LEVEL']) {
      expect(ran.stderr).toContain(`  ${name}: `)
    }
    expect(ran.stderr).not.toContain('hunter2')
  })
})
