/** argv → command. Every command has `--help`; those that print have `--json`. */
import { Command, CommanderError } from 'commander'
import { ConfigError } from '../errors.ts'
import { describeError } from '../telemetry/sanitize.ts'
import { version } from '../version.ts'
import { type AddCommand, type CommandContext, CommandFailed, writeLine } from './command.ts'

/**
 * Loaded when they are asked for: what one command needs, another one should not carry. Without a name that
 * is known, e.g. for help, all of them are.
 */
const commands: Readonly<Record<string, () => Promise<AddCommand>>> = {
  run: async () => (await import('./run.ts')).addRun,
  migrate: async () => (await import('./migrate.ts')).addMigrate,
  demo: async () => (await import('./demo/command.ts')).addDemo,
  destinations: async () => (await import('./destinations/index.ts')).addDestinations,
  replay: async () => (await import('./replay/index.ts')).addReplay,
  sources: async () => (await import('./sources/index.ts')).addSources,
  secret: async () => (await import('./secret/index.ts')).addSecret,
  doctor: async () => (await import('./doctor/command.ts')).addDoctor,
}

/** Runs one command and returns its exit code. Arguments without `node` and the script. */
export async function runProgram(args: readonly string[], context: CommandContext): Promise<number> {
  const program = new Command('spillway')
    .description('Streams the rows of PostgreSQL audit tables to HTTP endpoints and SIEMs.')
    .version(version)
    .showHelpAfterError('(add --help for what there is)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
    })
  const named = Object.hasOwn(commands, args[0] ?? '') ? commands[args[0] ?? ''] : undefined
  for (const load of named ? [named] : Object.values(commands)) {
    const add = await load()
    add(program, context)
  }
  try {
    await program.parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    return exitCode(error, context)
  }
}

function exitCode(error: unknown, { stderr }: CommandContext): number {
  // Commander has said it already; help and version are no failure.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  if (error instanceof CommandFailed) return 1
  if (error instanceof ConfigError) {
    // Whole, however long the list of fields is; its messages repeat no value.
    writeLine(stderr, error.message)
    writeLine(stderr, error.hint)
    return 2
  }
  const { name, message, hint } = describeError(error)
  writeLine(stderr, message === '' ? name : message)
  if (hint !== undefined) writeLine(stderr, hint)
  return 1
}
