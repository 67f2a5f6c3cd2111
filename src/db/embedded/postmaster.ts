/**
 * The server process. Its truth is `postmaster.pid` in the data directory, which PostgreSQL itself writes
 * exclusively, keeps current (line 8: starting, ready, stopping) and removes when it ends:
 *
 *   none ──spawn──▶ starting ──▶ ready ──signal──▶ stopping ──▶ none
 *
 * It runs in a session of its own, so that Ctrl-C in a terminal reaches the daemon and not the server under
 * it, and writes to a file, so that it neither needs its starter's pipes nor keeps it alive.
 */
import { spawn } from 'node:child_process'
import { open, readFile, rm, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { sleep } from '../../clock.ts'
import { type Binaries, postgresOf } from './binaries.ts'
import { lastLines, serverEnvironment } from './cluster.ts'
import { EmbeddedPostgresError, errnoOf } from './error.ts'
import { dataOf, type Home } from './home.ts'
import { commandLineOf, startTimeOf } from './processes.ts'

export interface Postmaster {
  readonly pid: number
  readonly port: number
  readonly status: string
}

export type StopMode = 'fast' | 'immediate'

/** What a spawned server came to: it is ready, or it ended and said why. */
export type Spawned = { readonly ready: true } | { readonly ready: false; readonly log: string }

/** Recovery after a crash reads at most a gigabyte of write-ahead log by default. */
const START_TIMEOUT_MS = 60_000
/** A fast stop is a checkpoint; after this the server is stopped hard, and after that again given up on. */
const STOP_TIMEOUT_MS = 20_000
const LOOK_AGAIN_MS = 20
/** The log is a development aid; it starts over when it has grown to this. */
const MAX_LOG_BYTES = 10_000_000

/** The living server of a data directory. A file left by one that crashed counts for nothing. */
export async function findPostmaster(home: string): Promise<Postmaster | undefined> {
  const data = join(home, 'data')
  const found = parse(await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => ''))
  if (!found || (await startTimeOf(found.pid)) === undefined) return undefined
  // After a reboot or in a new container the pid may be anything, even ourselves.
  const commandLine = await commandLineOf(found.pid)
  return commandLine === undefined || commandLine.includes(data) ? found : undefined
}

/** Waits until a server that is starting or stopping is done with it. */
export async function whenSettled(home: string): Promise<Postmaster | undefined> {
  const deadline = performance.now() + START_TIMEOUT_MS
  for (;;) {
    const found = await findPostmaster(home)
    if (!found || found.status === 'ready') return found
    if (performance.now() > deadline) {
      throw new EmbeddedPostgresError(
        `The server in ${home} (pid ${found.pid}) has been ${found.status} for ${START_TIMEOUT_MS / 1000} s`,
        `See ${join(home, 'log')}; end that process to start a new one.`,
      )
    }
    await sleep(LOOK_AGAIN_MS)
  }
}

export async function spawnPostmaster(
  home: Home,
  binaries: Binaries,
  port: number,
  settings: Readonly<Record<string, string>>,
): Promise<Spawned> {
  const data = dataOf(home)
  // PostgreSQL takes a stale file for a running server if its pid lives again under the same user. Should
  // two starters get here at once, its lock on the data directory's shared memory keeps the second out.
  if (!(await findPostmaster(home.path))) await rm(join(data, 'postmaster.pid'), { force: true })
  const logPath = join(home.path, 'log')
  const log = await open(logPath, 'a', 0o600)
  if ((await log.stat()).size > MAX_LOG_BYTES) await truncate(logPath)
  const { size: logStart } = await log.stat()
  try {
    const options = Object.entries({ ...settings, port: String(port) })
    const child = spawn(
      postgresOf(binaries),
      ['-D', data, ...options.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      {
        ...home.account,
        cwd: home.path,
        env: serverEnvironment(),
        detached: true,
        stdio: ['ignore', log.fd, log.fd],
      },
    )
    let ended: string | undefined
    child.once('error', (error) => {
      ended = error.message
    })
    child.once('exit', (code, signal) => {
      ended = `ended with ${signal ?? code}`
    })
    child.unref()

    const deadline = performance.now() + START_TIMEOUT_MS
    while (ended === undefined) {
      const found = await findPostmaster(home.path)
      if (found?.pid === child.pid && found?.status === 'ready') return { ready: true }
      if (performance.now() > deadline) {
        child.kill('SIGQUIT')
        ended = `not ready after ${START_TIMEOUT_MS / 1000} s`
      }
      await sleep(LOOK_AGAIN_MS)
    }
    const said = (await readFile(logPath)).subarray(logStart).toString()
    return { ready: false, log: `${ended}: ${lastLines(said)}` }
  } finally {
    await log.close()
  }
}

/** Stops the server in `home` and returns when it is gone; nothing to do if there is none. */
export async function stopPostmaster(home: string, mode: StopMode): Promise<void> {
  const running = await findPostmaster(home)
  if (!running) return
  // PostgreSQL's own meanings: SIGINT ends the sessions and writes a checkpoint, SIGQUIT is a crash.
  for (const signal of mode === 'fast'
    ? (['SIGINT', 'SIGQUIT'] as const)
    : (['SIGQUIT', 'SIGKILL'] as const)) {
    try {
      process.kill(running.pid, signal)
    } catch (error) {
      if (errnoOf(error) === 'ESRCH') return
      throw error
    }
    const deadline = performance.now() + STOP_TIMEOUT_MS
    while (performance.now() < deadline) {
      if ((await findPostmaster(home))?.pid !== running.pid) return
      await sleep(LOOK_AGAIN_MS)
    }
  }
  throw new EmbeddedPostgresError(
    `The server in ${home} (pid ${running.pid}) does not stop`,
    `See ${join(home, 'log')}; end that process by hand.`,
  )
}

/** Lines: pid, data directory, start, port, socket directory, address, shared memory, status. */
function parse(file: string): Postmaster | undefined {
  const lines = file.split('\n')
  const pid = Number(lines[0])
  const port = Number(lines[3])
  if (!Number.isInteger(pid) || pid <= 0 || !Number.isInteger(port)) return undefined
  return { pid, port, status: lines[7]?.trim() || 'starting' }
}
