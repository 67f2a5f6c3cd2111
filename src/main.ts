#!/usr/bin/env node
/** argv → command, exit code. The first signal asks the command to end, the second one ends the process. */
import { runProgram } from './cli/program.ts'

const exitAfterMs = 1_000

const ending = new AbortController()
for (const name of ['SIGTERM', 'SIGINT'] as const) {
  process.on(name, () => {
    // 128 + the signal's number, as shells report it.
    if (ending.signal.aborted) process.exit(name === 'SIGTERM' ? 143 : 130)
    ending.abort(name)
  })
}

process.exitCode = await runProgram(process.argv.slice(2), {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  signal: ending.signal,
})
// Everything is closed by now. Whatever still keeps the process, e.g. a database that does not answer, must not.
setTimeout(() => process.exit(), exitAfterMs).unref()
