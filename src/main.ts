#!/usr/bin/env node
/** argv → command, exit code. The first signal asks the command to end, the second one ends the process. */
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'

/**
 * V8 lets the space for young objects grow to where a daemon that drains a backlog holds 380 MB, of which 35
 * are alive. Kept small it holds 210, for a tenth more of the processor's time (measured: `npm run bench`).
 */
setFlagsFromString('--semi-space-growth-factor=1')

/**
 * Among so few young objects one thread finds what is alive before others have been woken to help it. On two processors,
 * which the database and the endpoint want too, catching up is 3 to 6 in a hundred faster without their help.
 */
setFlagsFromString('--no-parallel-scavenge')

/**
 * V8 looks for garbage among old objects when there are up to four times as many bytes as it left the last time: with ten
 * thousand destinations that is hundreds of megabytes. At three times a daemon that catches up holds some 200 MB and ten
 * thousand destinations 214; at 1.75 times it holds 160, for a tenth more of the processor's time.
 */
setFlagsFromString('--heap-growing-percent=200')

/**
 * Half of libuv's threads may resolve names, and a name server that does not answer holds one for many seconds.
 * Of the usual four, two such names would be enough to have every destination wait (src/egress/lookups.ts).
 */
process.env.UV_THREADPOOL_SIZE ??= '32'

const exitAfterMs = 1_000

const ending = new AbortController()
for (const name of ['SIGTERM', 'SIGINT'] as const) {
  process.on(name, () => {
    // 128 + the signal's number, as shells report it.
    if (ending.signal.aborted) process.exit(name === 'SIGTERM' ? 143 : 130)
    ending.abort(name)
  })
}

// Whoever reads what a command prints may have had enough of it: `… | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit(0)
})

/**
 * Compiling the sources is half of a start from a clone. It is kept for the next one inside the clone: in the system's folder
 * for temporary files, others could put code for it there. What is built needs little, and its folder may be read-only.
 */
if (import.meta.filename.endsWith('ts')) {
  enableCompileCache(fileURLToPath(new URL('../.spillway/compile-cache', import.meta.url)))
}
// Only what is imported from here on is kept.
const { runProgram } = await import('./cli/program.ts')

process.exitCode = await runProgram(process.argv.slice(2), {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  signal: ending.signal,
})
// Everything is closed by now. Whatever still keeps the process, e.g. a database that does not answer, must not.
setTimeout(() => process.exit(), exitAfterMs).unref()
