/** The daemon as users start it: `node src/main.ts run`, a process of its own. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export interface BenchDaemon extends AsyncDisposable {
  /** The most memory that it has held so far (Linux: `VmHWM`). */
  peakBytes(): Promise<number>
  /** SIGTERM; throws unless it ends as it should. */
  stop(): Promise<void>
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

export async function startDaemon(
  databaseUrl: string,
  env: Readonly<Record<string, string>>,
  profiles: string | undefined,
): Promise<BenchDaemon> {
  const profiling = profiles === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profiles}`]
  const child = spawn(process.execPath, [...profiling, main, 'run'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: databaseUrl,
      SPILLWAY_HTTP_PORT: '0',
      SPILLWAY_EGRESS_ALLOW: '127.0.0.0/8',
      ...env,
    },
  })
  const closed = once(child, 'close')
  const daemon: BenchDaemon = {
    async peakBytes() {
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8')
      return Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1]) * 1024
    },
    async stop() {
      child.kill('SIGTERM')
      const [code] = await closed
      if (code !== 0) throw new Error(`the daemon ended with ${code}`)
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await closed
    },
  }
  const lines: string[] = []
  try {
    await new Promise<void>((resolve, reject) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        lines.push(line)
        if (line.includes('"event":"daemon.started"')) resolve()
      })
      closed.then(() => reject(new Error(`the daemon did not start:\n${lines.join('\n')}`)), reject)
    })
  } catch (error) {
    await daemon[Symbol.asyncDispose]()
    throw error
  }
  return daemon
}
