/** `spillway demo`: the main job on this machine, with nothing to set up. */
import { InvalidArgumentError } from 'commander'
import { type AddCommand, CommandFailed, writeJson, writeLine } from '../command.ts'
import { createDisplay } from './display.ts'
import { tell } from './result.ts'
import { runDemo } from './run.ts'

interface Options {
  readonly seconds?: number
  readonly json?: true
}

const afterHelp = `
It uses an embedded PostgreSQL with a database of its own, whatever DATABASE_URL says, and an HTTP receiver
on this machine. It ends after --seconds or with Ctrl-C, with a summary of what was written, delivered and
lost. Exit code 0 only if nothing was lost and nothing arrived that should not.`

/** A day. */
const maxSeconds = 86_400

export const addDemo: AddCommand = (program, { env, stdout, signal }) => {
  program
    .command('demo')
    .description('watch audit rows arrive at three endpoints, one of them flaky')
    .option('--seconds <n>', 'end by itself after this time', parseSeconds)
    .option('--json', 'print only the summary, as JSON')
    .addHelpText('after', afterHelp)
    .action(async ({ seconds, json }: Options) => {
      const result = await runDemo({
        env,
        limitMs: seconds === undefined ? undefined : seconds * 1_000,
        display: createDisplay(stdout, json === true),
        signal,
      })
      if (json) writeJson(stdout, result)
      else {
        writeLine(stdout)
        for (const line of tell(result)) writeLine(stdout, line)
        writeLine(stdout)
        writeLine(stdout, 'Next: `npm start -- run`, and the five-minute tour in the README.')
      }
      if (!result.ok) throw new CommandFailed()
    })
}

function parseSeconds(text: string): number {
  const seconds = Number(text)
  if (/^\d+$/.test(text) && seconds >= 1 && seconds <= maxSeconds) return seconds
  throw new InvalidArgumentError(`Write a whole number of seconds from 1 to ${maxSeconds}.`)
}
