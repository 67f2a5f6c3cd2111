/**
 * Reads bodies, finds their events without parsing them, and answers 200: as little work as a receiver
 * can do, so that it is never what is measured. It answers first and looks then.
 */
import { createServer, type IncomingMessage } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { type FromReceiver, monotonicMs, type ReceivedRequest, type ToReceiver } from './receiver.ts'

/** Each event begins with it, and nothing else contains it. */
const eventStart = Buffer.from('{"id":"request:')
/** A bigint has at most 19 digits. */
const longestId = 19

let expected = Number.POSITIVE_INFINITY
let arrived = 0
let requests: ReceivedRequest[] = []

const server = createServer(async (request, response) => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  if (pathname === '/hung') return
  if (pathname === '/slow') await delay(Number(searchParams.get('ms')))
  response.writeHead(200, { 'content-length': '0' }).end()
  take(request, chunks, monotonicMs())
})

process.on('message', (message: ToReceiver) => {
  expected = message.expect
  arrived = 0
  requests = []
})
// Whoever started it has ended.
process.on('disconnect', () => process.exit())

server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the receiver has no port')
  tell({ kind: 'listening', url: `http://127.0.0.1:${address.port}/` })
})

function take({ headers }: IncomingMessage, chunks: readonly Buffer[], answeredAt: number): void {
  const body = Buffer.concat(chunks)
  const ids = idsIn(headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body)
  requests.push({ ids, bytes: body.length, answeredAt })
  arrived += ids.length
  if (arrived >= expected) tell({ kind: 'received', requests })
}

function idsIn(body: Buffer): number[] {
  const ids: number[] = []
  for (let at = body.indexOf(eventStart); at >= 0; at = body.indexOf(eventStart, at)) {
    at += eventStart.length
    ids.push(Number.parseInt(body.toString('latin1', at, at + longestId), 10))
  }
  return ids
}

function tell(message: FromReceiver): void {
  process.send?.(message)
}
