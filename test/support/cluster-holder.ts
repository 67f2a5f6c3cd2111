/**
 * A process that uses the embedded server of the directory in its argument: it says what it got in one line
 * of JSON, waits until its stdin ends, stops and says whether that ended the server.
 */
import { startEmbedded } from '../../src/db/embedded/server.ts'

const server = await startEmbedded({ directory: process.argv[2] ?? '.spillway', durable: false })
process.stdout.write(`${JSON.stringify({ reused: server.reused, url: server.url('postgres') })}\n`)
for await (const _ of process.stdin) {
  // Only its end matters.
}
process.stdout.write(`${JSON.stringify({ ended: await server.stop() })}\n`)
