import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { findBinaries } from '../../src/db/embedded/binaries.ts'
import { EmbeddedPostgresError } from '../../src/db/embedded/error.ts'
import { removeEmbedded, startEmbedded } from '../../src/db/embedded/server.ts'
import { ConfigError } from '../../src/errors.ts'

const isRoot = process.getuid?.() === 0
let parent: string
let directory: string
let holders: ChildProcess[]

beforeEach(async () => {
  // Below a directory that only its owner can enter, as a fresh clone in `mktemp -d` is.
  parent = await mkdtemp(join(tmpdir(), 'spillway-embedded-'))
  directory = join(parent, 'project', '.spillway')
  holders = []
})

afterEach(async () => {
  for (const holder of holders) {
    if (holder.exitCode !== null || holder.signalCode !== null) continue
    holder.kill('SIGKILL')
    await once(holder, 'exit')
  }
  expect(await removeEmbedded(directory)).toBe(true)
  await rm(parent, { recursive: true, force: true })
})

describe('the embedded server', () => {
  test('is a UTF-8 PostgreSQL in UTC that takes prepared transactions, and is gone after the stop', async () => {
    const server = await startEmbedded({ directory, durable: false })
    expect(await server.createDatabase('audit')).toBe(true)
    expect(await server.createDatabase('audit')).toBe(false)
    const [row] = await query(
      server.url('audit'),
      `select current_setting('server_version_num')::int / 10000 as major,
              current_setting('server_encoding') as encoding,
              current_setting('timezone') as zone,
              current_setting('max_prepared_transactions') as prepared,
              current_setting('fsync') as fsync`,
    )
    expect(row).toEqual({ major: 18, encoding: 'UTF8', zone: 'UTC', prepared: '20', fsync: 'off' })
    expect(await server.stop()).toBe(true)
    await expect(query(server.url('audit'), 'select 1')).rejects.toThrow()
  })

  test('keeps data, port and password over a restart', async () => {
    const first = await startEmbedded({ directory })
    await query(first.url('postgres'), 'create table kept as select 42 as answer')
    await first.stop()
    const second = await startEmbedded({ directory })
    expect(second.url('postgres')).toBe(first.url('postgres'))
    expect(await query(second.url('postgres'), 'select answer from kept')).toEqual([{ answer: 42 }])
    expect(await query(second.url('postgres'), 'show fsync')).toEqual([{ fsync: 'on' }])
    await second.stop()
  })

  test('refuses a wrong password', async () => {
    const server = await startEmbedded({ directory, durable: false })
    const url = new URL(server.url('postgres'))
    url.password = 'wrong'
    await expect(query(url.href, 'select 1')).rejects.toThrow(/password authentication failed/)
    await server.stop()
  })

  test('is shared by processes, and the last one out stops it', async () => {
    const starter = await hold()
    expect(starter.reused).toBe(false)
    const user = await hold()
    expect(user).toMatchObject({ reused: true, url: starter.url })
    // The starter leaves first: the other one keeps its server.
    expect(await starter.release()).toEqual({ ended: false })
    await query(user.url, 'select 1')
    expect(await user.release()).toEqual({ ended: true })
    await expect(query(user.url, 'select 1')).rejects.toThrow()
  })

  test('is one server when several processes start it at once in an empty directory', async () => {
    const users = await Promise.all([hold(), hold(), hold()])
    expect(users.filter(({ reused }) => !reused)).toHaveLength(1)
    expect(new Set(users.map(({ url }) => url)).size).toBe(1)
    const ends = await Promise.all(users.map((user) => user.release()))
    // Two that leave in the same moment may both find themselves last.
    expect(ends).toContainEqual({ ended: true })
    await expect(query(users[0].url, 'select 1')).rejects.toThrow()
  })

  test('survives Ctrl-C and kill -9 of its starter, and the next process takes it over', async () => {
    const starter = await hold()
    // What a terminal does on Ctrl-C: a signal to the whole process group.
    process.kill(-starter.pid, 'SIGINT')
    await once(starter.process, 'exit')
    await query(starter.url, 'select 1')

    const second = await hold()
    expect(second).toMatchObject({ reused: true, url: starter.url })
    second.process.kill('SIGKILL')
    await once(second.process, 'exit')

    const heir = await startEmbedded({ directory, durable: false })
    expect(heir.reused).toBe(true)
    expect(await heir.stop()).toBe(true)
    await expect(query(starter.url, 'select 1')).rejects.toThrow()
  })

  test('recovers from a crash of the server, whoever has its pid now', async () => {
    const server = await startEmbedded({ directory })
    await query(server.url('postgres'), 'create table kept as select 42 as answer')
    const pidFile = join(server.home, 'data', 'postmaster.pid')
    const left = await readFile(pidFile, 'utf8')
    const pid = Number(left.split('\n')[0])
    process.kill(pid, 'SIGKILL')
    await expect.poll(() => query(server.url('postgres'), 'select 1').catch(() => 'down')).toBe('down')
    // After a reboot the pid may belong to anybody, here to us.
    await writeFile(pidFile, left.replace(String(pid), String(process.pid)))
    const again = await startEmbedded({ directory })
    expect(again.reused).toBe(false)
    expect(await query(again.url('postgres'), 'select answer from kept')).toEqual([{ answer: 42 }])
    await again.stop()
    await server.stop()
  })

  test('starts from scratch where an earlier start was killed while it made the data directory', async () => {
    const server = await startEmbedded({ directory, durable: false })
    await server.stop()
    await rm(join(server.home, 'data'), { recursive: true })
    const draft = join(server.home, 'draft-999999999-00000000')
    await mkdir(draft)
    await writeFile(join(draft, 'PG_VERSION'), '18\n')
    const again = await startEmbedded({ directory, durable: false })
    await query(again.url('postgres'), 'select 1')
    await again.stop()
    await expect(readFile(join(draft, 'PG_VERSION'))).rejects.toThrow(/ENOENT/)
  })

  test('refuses data of another major version and says what to do', async () => {
    const server = await startEmbedded({ directory, durable: false })
    await server.stop()
    await writeFile(join(server.home, 'data', 'PG_VERSION'), '17\n')
    const refused = await startEmbedded({ directory }).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(EmbeddedPostgresError)
    expect(refused).toMatchObject({
      message: expect.stringMatching(/made by PostgreSQL 17.*package is PostgreSQL 18/),
      hint: expect.stringContaining(`Remove ${server.home}`),
    })
  })

  test('says why the server does not start', async () => {
    const server = await startEmbedded({ directory, durable: false })
    await server.stop()
    await rm(join(server.home, 'data', 'global', 'pg_control'))
    await expect(startEmbedded({ directory })).rejects.toThrow(/does not start: .*pg_control/)
  })

  test.runIf(isRoot)('moves out of a directory that its user cannot enter when root starts it', async () => {
    const server = await startEmbedded({ directory, durable: false })
    expect(server.home).toMatch(/^\/var\/(lib|tmp)\/spillway\/home-/)
    await server.stop()
    expect(await removeEmbedded(directory)).toBe(true)
    await expect(readFile(join(server.home, 'log'))).rejects.toThrow(/ENOENT/)
  })

  test.runIf(isRoot)('stays in the project where its user can enter', async () => {
    const open = await mkdtemp('/var/tmp/spillway-embedded-')
    try {
      await rm(open, { recursive: true })
      await mkdir(open, { mode: 0o755 })
      const server = await startEmbedded({ directory: open, durable: false })
      expect(dirname(server.home)).toBe(open)
      await server.stop()
    } finally {
      await removeEmbedded(open)
      await rm(open, { recursive: true, force: true })
    }
  })

  test('names DATABASE_URL where the package has no programs for the machine', async () => {
    const refused = await findBinaries({ platform: 'sunos' }).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(ConfigError)
    expect(refused).toMatchObject({ fields: [{ field: 'DATABASE_URL' }] })
  })
})

interface Holder {
  readonly process: ChildProcess
  readonly pid: number
  readonly reused: boolean
  readonly url: string
  release(): Promise<unknown>
}

/** Another process that uses the server, in a process group of its own. */
async function hold(): Promise<Holder> {
  const script = fileURLToPath(new URL('../support/cluster-holder.ts', import.meta.url))
  const child = spawn(process.execPath, [script, directory], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  })
  holders.push(child)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => JSON.parse((await lines.next()).value ?? 'null') as unknown
  const { reused, url } = (await next()) as { reused: boolean; url: string } // our own script's line
  return {
    process: child,
    pid: child.pid ?? 0,
    reused,
    url,
    async release() {
      child.stdin.end()
      return next()
    },
  }
}

async function query(url: string, text: string): Promise<postgres.Row[]> {
  const sql = postgres(url, { max: 1, connect_timeout: 5, onnotice: () => {} })
  try {
    return [...(await sql.unsafe(text))]
  } finally {
    await sql.end()
  }
}
