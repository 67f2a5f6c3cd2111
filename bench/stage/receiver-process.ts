/**
 * Reads bodies, counts their events without parsing them, and answers 200: as little work as a receiver
 * can do, so that it is never what is measured.
 */
import { createServer } from 'node:http'
import { type FromReceiver, monotonicMs, type ReceivedRequest, type ToReceiver } from './receiver.ts'

/** Each event begins with it, and nothing else contains it. */
const eventStart = Buffer.from('{"id":"request:')

let expected = Number.POSITIVE_INFINITY
let arrived = 0
let requests: ReceivedRequest[] = []

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    response.writeHead(200, { 'content-length': '0' }).end()
    const answeredAt = monotonicMs()
    const received = { ...inspect(Buffer.concat(chunks)), answeredAt }
    requests.push(received)
    arrived += received.events
    if (arrived >= expected) tell({ kind: 'received', requests })
  })
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

function inspect(body: Buffer): Omit<ReceivedRequest, 'answeredAt'> {
  let events = 0
  let firstAt = -1
  let lastAt = -1
  for (let at = body.indexOf(eventStart); at >= 0; at = body.indexOf(eventStart, at + eventStart.length)) {
    if (events === 0) firstAt = at
    lastAt = at
    events += 1
  }
  return { events, bytes: body.length, firstId: idAt(body, firstAt), lastId: idAt(body, lastAt) }
}

function idAt(body: Buffer, at: number): number {
  const from = at + eventStart.length
  // A bigint has at most 19 digits.
  return Number.parseInt(body.toString('latin1', from, from + 19), 10)
}

function tell(message: FromReceiver): void {
  process.send?.(message)
}
