/** The daemon as users start it: `node src/main.ts run`, a process of its own. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { cpuSeconds, memoryOf } from './process-usage.ts'

export interface BenchDaemon extends AsyncDisposable {
  /** From the process's start until it served. */
  readonly startMs: number
  /** Bytes that it holds now and held at most. */
  memory(): ReturnType<typeof memoryOf>
  /** Processor time that it has used so far. */
  cpuSeconds(): Promise<number>
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
  const began = performance.now()
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
  const { pid = 0 } = child
  const daemon: Omit<BenchDaemon, 'startMs'> = {
    memory: () => memoryOf(pid),
    cpuSeconds: () => cpuSeconds(pid),
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
  let isUp = false
  try {
    await new Promise<void>((resolve, reject) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (isUp) return
        lines.push(line)
        isUp = line.includes('"event":"daemon.started"')
        if (isUp) resolve()
      })
      closed.then(() => reject(new Error(`the daemon did not start:\n${lines.join('\n')}`)), reject)
    })
  } catch (error) {
    await daemon[Symbol.asyncDispose]()
    throw error
  }
  return { ...daemon, startMs: performance.now() - began }
}
