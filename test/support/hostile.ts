/**
 * What a receiver can do to the one who sends to it. Everything that it says of its own has the word `hush`
 * in it, so that a test can see whether any of it is repeated somewhere.
 */
import { connect, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { gzipSync } from 'node:zlib'
import type { IssuedCertificate } from './certificates.ts'
import {
  type Behaviour,
  cutShort,
  destroy,
  drip,
  endless,
  flood,
  hang,
  late,
  malformed,
  type PlainReply,
  type Reply,
  raw,
} from './receiver.ts'

const hushed: PlainReply = {
  headers: { 'x-hush': 'hush-header', 'set-cookie': 'hush=hush-cookie' },
  body: 'hush-body',
}
const ok = 'HTTP/1.1 200 OK\r\n'
/** Of a whole answer: the server does not know that it was given, and would answer no other request on that connection. */
const last = 'connection: close\r\n'
const hushHeader = 'x-hush: hush-header\r\n'
const gigabyte = 2 ** 30

/** Takes the request and closes its own direction only. */
const halfClose: Behaviour = (response) => void response.socket?.end()

/** No answer that counts: what is sent meanwhile has to be sent again. */
export const refusing: Readonly<Record<string, Reply>> = {
  'a refusal with words': { ...hushed, status: 503 },
  'a reason that is a secret': raw(
    `HTTP/1.1 503 hush-reason\r\n${hushHeader}${last}content-length: 9\r\n\r\nhush-body`,
  ),
  'no answer': hang,
  'an answer after the time': late(2_900, { ...hushed, status: 200 }),
  'a body that drips': drip(20),
  'headers that drip': flood(`${ok}${hushHeader}`, hushHeader, 20),
  'headers without end': flood(ok, `x-hush-${'hush'.repeat(200)}: ${'hush'.repeat(200)}\r\n`),
  'a header without end': flood(`${ok}x-hush: `, 'hush'.repeat(2_000)),
  'a hundred thousand headers': raw(`${ok}${'a:hush\r\n'.repeat(100_000)}\r\n`),
  'a status line without end': flood('HTTP/1.1 200 ', 'hush'.repeat(2_000)),
  'news without end': flood('', `HTTP/1.1 103 Early Hints\r\n${hushHeader}\r\n`.repeat(50)),
  'news that drip': flood('', `HTTP/1.1 102 Processing\r\n${hushHeader}\r\n`, 20),
  'another protocol': raw(
    'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: hush\r\n\r\nhush',
  ),
  'no HTTP': malformed('220 hush.example ESMTP hush\r\n'),
  'HTTP/2': raw(
    Buffer.concat([Buffer.from([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]), Buffer.from('hush')]),
  ),
  'chunks of garbage': raw(`${ok}transfer-encoding: chunked\r\n\r\nhush\r\nhush\r\n`),
  'a chunk that never ends to be announced': flood(
    `${ok}transfer-encoding: chunked\r\n\r\n4;hush=`,
    'hush'.repeat(2_000),
  ),
  'trailers without end': flood(
    `${ok}transfer-encoding: chunked\r\n\r\n4\r\nhush\r\n0\r\n`,
    hushHeader.repeat(50),
  ),
  'two lengths': raw(`${ok}content-length: 4\r\ncontent-length: 5\r\n\r\nhush!`),
  'a length below zero': raw(`${ok}content-length: -1\r\n\r\nhush`),
  'a body cut short': cutShort,
  'a reset': destroy,
  'an end without an answer': halfClose,
  'a status that there is not': raw(`HTTP/1.1 999 hush\r\n${hushHeader}${last}content-length: 4\r\n\r\nhush`),
}

/** A yes, however odd: accepted. `onClose` hears how much of the largest was taken. */
export const accepting = (onClose: (sentBytes: number) => void): Readonly<Record<string, Reply>> => ({
  'a body of ten gigabytes': (response) => {
    response.setHeader('content-length', 10 * gigabyte)
    endless(onClose)(response)
  },
  'a gzip bomb': {
    status: 200,
    headers: { 'content-encoding': 'gzip' },
    body: gzipSync(Buffer.alloc(32 * 1024 * 1024)),
  },
  'HTTP/1.0': malformed('HTTP/1.0 200 OK\r\nx-hush: hush-header\r\n\r\nhush-body'),
  'news before the answer': raw(`HTTP/1.1 102 Processing\r\n\r\n${ok}${last}content-length: 4\r\n\r\nhush`),
  'bytes after the answer': raw(`${ok}content-length: 4\r\n\r\nhush${ok}content-length: 4\r\n\r\nhush`),
})

/** What a socket can do before there is HTTP. */
export const rude: Readonly<Record<string, (socket: Socket) => void>> = {
  'a connection closed at once': (socket) => socket.destroy(),
  'a connection reset at once': (socket) => void socket.resetAndDestroy(),
  'a connection that nobody reads': (socket) => socket.pause(),
  'a banner first': (socket) => void socket.write('SSH-2.0-hush\r\n'),
}

/** The same where TLS is expected. */
export const rudeToTls: Readonly<Record<string, (socket: Socket) => void>> = {
  'a handshake that never comes': (socket) => void socket.resume(),
  'a handshake that drips': (socket) => {
    // The head of a record of 16 KiB that arrives a byte at a time.
    socket.write(Buffer.from([22, 3, 3, 64, 0]))
    const timer = setInterval(() => socket.write(Buffer.from([2])), 20)
    socket.on('close', () => clearInterval(timer)).resume()
  },
  'no TLS': (socket) => void socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\nhush'),
  'a handshake that is cut': (socket) => socket.once('data', () => socket.destroy()),
}

export interface Front {
  readonly port: number
  /** From now on everything goes to the receiver. */
  turnGood(): void
  /** Resolves when no connection is open. */
  disconnected(): Promise<void>
  close(): Promise<void>
}

/** Stands in front of a receiver: misbehaves on every connection until it is told otherwise. */
export async function startFront(
  receiverPort: number,
  misbehave: (socket: Socket) => void,
  certificate?: IssuedCertificate,
): Promise<Front> {
  const open = new Set<Socket>()
  const leaving = new Set<() => void>()
  let good = false
  const pass = (socket: Socket) => {
    const onward = connect(receiverPort, '127.0.0.1')
    onward.on('error', () => socket.destroy()).on('close', () => socket.destroy())
    socket.on('error', () => {}).on('close', () => onward.destroy())
    socket.pipe(onward).pipe(socket)
  }
  const secure = certificate && createTlsServer(certificate, pass).on('tlsClientError', () => {})
  const server: Server = createServer((socket) => {
    open.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => {
      open.delete(socket)
      if (open.size > 0) return
      for (const wake of leaving) wake()
      leaving.clear()
    })
    if (!good) misbehave(socket)
    else if (secure) secure.emit('connection', socket)
    else pass(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the front has no port')
  return {
    port: address.port,
    turnGood() {
      good = true
      // Who does not read does not see that the other side has left.
      for (const socket of open) socket.resume()
    },
    disconnected: () =>
      new Promise((resolve) => {
        if (open.size === 0) resolve()
        else leaving.add(resolve)
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of open) socket.destroy()
      }),
  }
}
