/**
 * The container's HEALTHCHECK: exits 0 when the daemon beside it answers `/livez`, or the path in its
 * argument, with 200. It reads the daemon's own environment, so it asks where that one listens.
 */
import { get } from 'node:http'
import { parseConfig } from './config.ts'

/** Within the timeout of the HEALTHCHECK in the Dockerfile, so that a hung daemon gets a reason. */
const TIMEOUT_MS = 2_000
/** Who listens everywhere also listens here; "everywhere" is no address to ask. */
const LOOPBACK: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' }

const { httpHost, httpPort } = parseConfig(process.env)
const path = process.argv[2] ?? '/livez'
process.exitCode = 1
get({
  host: LOOPBACK[httpHost] ?? httpHost,
  port: httpPort,
  path,
  agent: false,
  signal: AbortSignal.timeout(TIMEOUT_MS),
})
  .on('response', (response) => {
    response.pipe(process.stdout)
    if (response.statusCode === 200) process.exitCode = 0
  })
  .on('error', (error) => process.stderr.write(`${path} has no answer: ${error.message}\n`))
