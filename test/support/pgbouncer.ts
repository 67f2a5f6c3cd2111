/**
 * A real PgBouncer in transaction mode in front of a test database. Stopped at the end of the test or file.
 * It needs its Debian package: `describe.skipIf(pgbouncerIsMissing)`.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Account, isRoot, postgresAccount } from '../../src/db/embedded/account.ts'
import { whenDone } from './postgres.ts'
import { closedPort } from './receiver.ts'

/** `npm test` says which commands are not there. */
export const pgbouncerIsMissing = (process.env.SPILLWAY_TEST_MISSING ?? '').split(',').includes('pgbouncer')

export interface PgBouncerOptions {
  /** Sessions of the server at most, for all clients together. */
  readonly poolSize?: number
  /** Startup parameters that are dropped instead of refused. */
  readonly ignore?: readonly string[]
}

export interface PgBouncer {
  /** As the given URL, through the pooler. */
  readonly url: string
  stop(): Promise<void>
  /** Starts it again, on the same port. */
  start(options?: PgBouncerOptions): Promise<void>
}

export async function startPgBouncer(serverUrl: string, options: PgBouncerOptions = {}): Promise<PgBouncer> {
  const directory = await mkdtemp(join(tmpdir(), 'spillway-pgbouncer-'))
  const account = isRoot() ? await postgresAccount() : undefined
  const port = await closedPort()
  const url = new URL(serverUrl)
  url.port = String(port)
  const file = join(directory, 'pgbouncer.ini')
  let running: ChildProcess | undefined

  const stop = async () => {
    const child = running
    running = undefined
    if (child === undefined || child.exitCode !== null) return
    const ended = new Promise((resolve) => child.once('close', resolve))
    child.kill('SIGKILL')
    await ended
  }
  const start = async (settings: PgBouncerOptions = options) => {
    await writeFile(file, configuration(new URL(serverUrl), port, settings))
    if (account) await hand(account, directory, file)
    running = await run(file, account)
  }
  whenDone(async () => {
    await stop()
    await rm(directory, { recursive: true, force: true })
  })
  await start()
  return { url: url.href, stop, start }
}

/** Whoever connects is taken for the user of the URL, without a password. */
function configuration(server: URL, port: number, { poolSize = 20, ignore = [] }: PgBouncerOptions): string {
  const target = `host=${server.hostname} port=${server.port} user=${server.username} password=${server.password}`
  return `
[databases]
* = ${target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 500
default_pool_size = ${poolSize}
server_login_retry = 1
ignore_startup_parameters = ${ignore.join(', ')}
`
}

/** PgBouncer does not run as root, and the file holds the server's password. */
async function hand({ uid, gid }: Account, ...paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await chown(path, uid, gid)
    await chmod(path, 0o700)
  }
}

async function run(file: string, account: Account | undefined): Promise<ChildProcess> {
  const child = spawn('pgbouncer', [file], {
    ...account,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin` },
  })
  const said: string[] = []
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', () => reject(new Error(`PgBouncer ended:\n${said.join('\n')}`)))
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line)
      if (line.includes('process up')) resolve()
    })
  })
  return child
}
