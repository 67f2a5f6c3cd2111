/**
 * The daemon as users start it: a process of its own whose log lines are the events that tests wait for.
 * Killed at the end of the test or file, if it still runs.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFailed, TestRunner } from 'vitest'
import { whenDone } from './postgres.ts'
import { programEnv } from './program.ts'

export interface LogLine {
  readonly event: string
  readonly level: string
  readonly [field: string]: unknown
}

export interface DaemonProcess {
  readonly pid: number
  /** All lines so far. */
  readonly lines: readonly LogLine[]
  /** Everything written to stderr. */
  readonly stderr: string
  /** The next line that fits, those so far included; rejects when the process ends without one. */
  logged(event: string, fits?: (line: LogLine) => boolean): Promise<LogLine>
  /** Resolves with the exit code; null when a signal ended it. */
  readonly exited: Promise<number | null>
  kill(signal: NodeJS.Signals): void
  /** SIGTERM, and the exit code. */
  stop(): Promise<number | null>
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

/**
 * For tests that wait until the leases of a daemon have ended, mostly of one that was killed. Others keep the default: a machine that is busy for
 * two seconds would cost them their leases, and with them what they wait to be told.
 */
export const briefLease = { SPILLWAY_LEASE_MS: '2000' } as const

/** Starts `spillway run`; resolves when it serves. */
export async function startDaemon(
  databaseUrl: string,
  env: Readonly<Record<string, string>> = {},
): Promise<DaemonProcess> {
  const daemon = spawnDaemon(databaseUrl, env)
  await daemon.logged('daemon.started')
  return daemon
}

export function spawnDaemon(databaseUrl: string, env: Readonly<Record<string, string>> = {}): DaemonProcess {
  const child = spawn(process.execPath, [main, 'run'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...programEnv,
      DATABASE_URL: databaseUrl,
      SPILLWAY_HTTP_PORT: '0',
      SPILLWAY_EGRESS_ALLOW: '127.0.0.0/8',
      SPILLWAY_POLL_INTERVAL_MS: '50',
      LOG_LEVEL: 'debug',
      ...env,
    },
  })
  const lines: LogLine[] = []
  const waiting = new Set<() => void>()
  let ended = false
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const read = createInterface({ input: child.stdout })
  read.on('line', (line) => {
    lines.push(JSON.parse(line) as LogLine)
    for (const look of waiting) look()
  })
  const exited = new Promise<number | null>((resolve) => {
    // `close` comes after the last line.
    child.once('close', (code) => {
      ended = true
      for (const look of waiting) look()
      resolve(code)
    })
  })
  whenDone(async () => {
    child.kill('SIGKILL')
    await exited
  })
  if (TestRunner.getCurrentTest()) {
    onTestFailed(() => {
      process.stderr.write(`The daemon's last lines:\n${tail(lines)}\n${stderr}\n`)
    })
  }
  return {
    pid: pidOf(child),
    lines,
    get stderr() {
      return stderr
    },
    exited,
    logged: (event, fits = () => true) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = lines.find((line) => line.event === event && fits(line))
          if (found === undefined && !ended) return
          waiting.delete(look)
          if (found) resolve(found)
          else reject(new Error(`The daemon ended without ${event}. It said: ${stderr}\n${tail(lines)}`))
        }
        waiting.add(look)
        look()
      }),
    kill: (signal) => void child.kill(signal),
    stop: () => {
      child.kill('SIGTERM')
      return exited
    },
  }
}

function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error('the daemon could not be started')
  return child.pid
}

function tail(lines: readonly LogLine[]): string {
  return lines
    .slice(-10)
    .map((line) => JSON.stringify(line))
    .join('\n')
}
