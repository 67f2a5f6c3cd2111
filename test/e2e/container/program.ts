/** A program as a test starts it: its output so far, the log events it writes, and how it ended. */
import { spawn } from 'node:child_process'

export interface ProgramOptions {
  readonly cwd?: string
  /** The whole environment; nothing of the test's own is added. */
  readonly env: NodeJS.ProcessEnv
}

export interface RunningProgram {
  readonly pid: number
  readonly stdout: string
  readonly stderr: string
  /** What `find` returns for the output as soon as it returns something; rejects when the program ends without. */
  said<T>(what: string, find: (stdout: string) => T | undefined): Promise<T>
  /** The first log line with this event. */
  logged(event: string): Promise<Readonly<Record<string, unknown>>>
  /** Resolves with the exit code when all output is there; null when a signal ended it. */
  readonly exited: Promise<number | null>
}

export function start(command: string, args: readonly string[], options: ProgramOptions): RunningProgram {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  const { pid } = child
  if (pid === undefined) throw new Error(`${command} cannot be started`)
  const waiting = new Set<() => void>()
  let stdout = ''
  let stderr = ''
  let ended = false
  const lookAgain = () => {
    for (const look of waiting) look()
  }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    lookAgain()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const exited = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      ended = true
      lookAgain()
      resolve(code)
    })
  })
  const said = <T>(what: string, find: (text: string) => T | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const look = () => {
        const found = find(stdout)
        if (found === undefined && !ended) return
        waiting.delete(look)
        if (found !== undefined) resolve(found)
        else reject(new Error(`${command} ended without ${what}.\n${stdout}\n${stderr}`))
      }
      waiting.add(look)
      look()
    })
  return {
    pid,
    get stdout() {
      return stdout
    },
    get stderr() {
      return stderr
    },
    said,
    logged: (event) => said(event, (text) => linesOf(text).find((line) => line.event === event)),
    exited,
  }
}

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export async function run(command: string, args: readonly string[], options: ProgramOptions): Promise<Ended> {
  const program = start(command, args, options)
  const code = await program.exited
  return { code, stdout: program.stdout, stderr: program.stderr }
}

/** The log lines among whole lines; a program may say other things too. */
function linesOf(stdout: string): Record<string, unknown>[] {
  return stdout
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>) // the log's own form: an object
}
