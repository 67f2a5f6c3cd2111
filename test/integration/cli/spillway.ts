/** Runs a command as `main.ts` does, with its streams kept: `await spillway(['sources', 'list'], { env })`. */
import { Readable, Writable } from 'node:stream'
import { runProgram } from '../../../src/cli/program.ts'

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly env: NodeJS.ProcessEnv
  readonly stdin?: string
  /** For what a string cannot play: a terminal. */
  readonly stdinStream?: NodeJS.ReadableStream
  readonly signal?: AbortSignal
  /** Columns of the terminal; without it stdout is a pipe. */
  readonly columns?: number
  /** Hears what is on stderr so far, whenever there is more. */
  readonly onStderr?: (text: string) => void
}

export async function spillway(args: readonly string[], options: RunOptions): Promise<Ran> {
  const stdout = collector(options.columns)
  const stderr = collector(undefined, options.onStderr)
  const code = await runProgram(args, {
    env: options.env,
    stdout: stdout.stream,
    stderr: stderr.stream,
    ...(options.stdin !== undefined && { stdin: Readable.from([options.stdin]) }),
    ...(options.stdinStream && { stdin: options.stdinStream }),
    signal: options.signal ?? new AbortController().signal,
  })
  return { code, stdout: stdout.text(), stderr: stderr.text() }
}

function collector(columns: number | undefined, onText: (text: string) => void = () => {}) {
  const chunks: string[] = []
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      chunks.push(chunk.toString())
      onText(chunks.join(''))
      done()
    },
  })
  const terminal = columns === undefined ? {} : { isTTY: true, columns }
  return {
    // The commands use of a terminal only what is given here.
    stream: Object.assign(stream, terminal) as unknown as NodeJS.WriteStream,
    text: () => chunks.join(''),
  }
}
