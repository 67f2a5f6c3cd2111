/** What every command is given, and how it ends: 0 done, 1 failed, 2 used wrongly. */
import type { Command } from 'commander'

export interface CommandContext {
  readonly env: NodeJS.ProcessEnv
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
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

export function writeLine(stream: NodeJS.WriteStream, line = ''): void {
  stream.write(`${line}\n`)
}
