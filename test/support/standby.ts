/**
 * An asynchronous standby of a test's cluster: a base backup by PostgreSQL's own functions, and its write-ahead log from
 * the primary over a link that can be cut. Stopped and removed at the end of the test or file.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { appendFile, cp, mkdir, rm, writeFile } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { promisify } from 'node:util'
import postgres from 'postgres'
import { isRoot, postgresAccount } from '../../src/db/embedded/account.ts'
import { postgresOf } from '../../src/db/embedded/binaries.ts'
import { serverEnvironment } from '../../src/db/embedded/cluster.ts'
import { reachableBinaries } from '../../src/db/embedded/home.ts'
import { testBinaries } from './binaries.ts'
import type { TestCluster } from './cluster.ts'
import { connect, whenDone } from './postgres.ts'
import { closedPort } from './receiver.ts'
import { startTcpProxy } from './tcp-proxy.ts'

export interface Standby {
  /** Of the database that the primary's URL names. */
  readonly url: string
  /** Resolves when it has everything that the primary has at this moment. */
  caughtUp(): Promise<void>
  /** What the primary does from now on does not come over any more. */
  cutLink(): void
  /** Makes it a primary, with what it has. */
  promote(): Promise<void>
}

/** Of files that are the primary's own: the log comes over the link. */
const left = [
  `pg_wal${sep}`,
  `pg_replslot${sep}`,
  'postmaster.pid',
  'postmaster.opts',
  'postgresql.auto.conf',
]

export async function startStandby(primary: TestCluster): Promise<Standby> {
  const data = `${primary.home}-standby`
  const link = await startTcpProxy(primary.url)
  const sql = connect(primary.url, 1)
  await sql`SELECT pg_backup_start('standby', fast => true)`
  const source = join(primary.home, 'data')
  await cp(source, data, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (file) =>
      !left.some((name) => `${file}`.startsWith(join(source, name)) && file !== join(source, name)) &&
      !file.endsWith('postmaster.pid'),
  })
  const [stopped] = await sql<
    { labelfile: string }[]
  >`SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)`
  await writeFile(join(data, 'backup_label'), stopped?.labelfile ?? '')
  await writeFile(join(data, 'standby.signal'), '')
  const { hostname, port, username, password } = new URL(link.url)
  await appendFile(
    join(data, 'postgresql.auto.conf'),
    `\nprimary_conninfo = 'host=${hostname} port=${port} user=${username} password=${password}'\n`,
  )
  for (const folder of ['pg_wal', 'pg_replslot']) await mkdir(join(data, folder), { recursive: true })
  const account = isRoot() ? await postgresAccount() : undefined
  if (account) await promisify(execFile)('chown', ['-R', `${account.uid}:${account.gid}`, data])
  await promisify(execFile)('chmod', ['-R', 'go=', data])

  const url = new URL(primary.url)
  url.port = String(await closedPort())
  const settings = [
    'listen_addresses=127.0.0.1',
    `port=${url.port}`,
    'unix_socket_directories=',
    'fsync=off',
    'max_connections=200',
    'max_prepared_transactions=20',
  ]
  const server = spawn(
    postgresOf(await reachableBinaries(await testBinaries(), account)),
    ['-D', data, ...settings.flatMap((each) => ['-c', each])],
    {
      ...account,
      cwd: data,
      env: serverEnvironment(),
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  const said: string[] = []
  server.stderr.setEncoding('utf8').on('data', (text: string) => said.push(text))
  whenDone(async () => {
    await end(server)
    await rm(data, { recursive: true, force: true })
  })
  await answers(url.href, server, said)
  const own = connect(url.href, 1)
  return {
    url: url.href,
    async caughtUp() {
      const [row] = await sql<{ lsn: string }[]>`SELECT pg_current_wal_flush_lsn()::text AS lsn`
      for (;;) {
        const [there] = await own<{ done: boolean }[]>`
          SELECT coalesce(pg_last_wal_replay_lsn() >= ${row?.lsn ?? ''}::text::pg_lsn, false) AS done`
        if (there?.done) return
        await own`SELECT pg_sleep(0.05)`
      }
    },
    cutLink: () => link.blackHole(),
    async promote() {
      await own`SELECT pg_promote(true)`
    },
  }
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return
  const ended = new Promise((resolve) => server.once('close', resolve))
  server.kill('SIGQUIT')
  await ended
}

async function answers(url: string, server: ChildProcess, said: readonly string[]): Promise<void> {
  for (;;) {
    if (server.exitCode !== null) throw new Error(`the standby ended:\n${said.join('')}`)
    const sql = postgres(url, { max: 1, onnotice: () => {}, connect_timeout: 2 })
    try {
      await sql`SELECT 1`
      return
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100))
    } finally {
      await sql.end({ timeout: 1 })
    }
  }
}
