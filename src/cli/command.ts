/** What every command is given, and how it ends: 0 done, 1 failed, 2 used wrongly. */
import type { Command } from 'commander'

export interface CommandContext {
  readonly env: NodeJS.ProcessEnv
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  /** Default `process.stdin`; read only by options that take `-` and by `secret encrypt`. */
  readonly stdin?: NodeJS.ReadableStream
  /** Aborts on SIGINT and SIGTERM. */
  readonly signal: AbortSignal
}

/** Adds a command, or a group of them, to the program. */
export type AddCommand = (program: Command, context: CommandContext) => void

/** The command did its work and its answer is no: said already, exit code 1. */
export class CommandFailed extends Error {
  constructor() {
    super('the command failed')
    this.name = 'CommandFailed'
  }
}

/** The command could not do its work: `message` says why, `hint` what to do. Exit code 1. */
export class CommandError extends Error {
  readonly code = 'COMMAND'
  readonly hint: string

  constructor(message: string, hint: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CommandError'
    this.hint = hint
  }
}

export function writeLine(stream: NodeJS.WriteStream, line = ''): void {
  stream.write(`${line}\n`)
}

export function writeJson(stream: NodeJS.WriteStream, value: unknown): void {
  writeLine(stream, JSON.stringify(value, null, 2))
}
