/**
 * A real HTTP server on a local port that plays the receiving side. Each request is recorded with its raw
 * bytes and answered by the next scripted reply; when the script is used up, by the standing one (200).
 *
 *   const receiver = await startReceiver()
 *   receiver.reply({ status: 503 }, { status: 200 })   // the next two requests
 *   receiver.always(hang)                              // every further one
 *   const [first] = await receiver.received(1)         // waits until a request has come in
 *   await receiver.close()
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { gunzipSync } from 'node:zlib'

export interface ReceivedRequest {
  readonly method: string
  /** Path and query. */
  readonly path: string
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  /** As they came over the wire: name, value, name, value, … */
  readonly rawHeaders: readonly string[]
  /** As it came over the wire. */
  readonly rawBody: Buffer
  /** Without its gzip, if it had one. */
  readonly body: Buffer
  /** Which connection it came over, from 1. */
  readonly connection: number
  /** When its headers had come, by `performance.now()`. */
  readonly beganAt: number
}

/** An ordinary answer. */
export interface PlainReply {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly body?: string | Buffer
}
/** Anything else: gets the raw response to misbehave with. */
export type Behaviour = (response: ServerResponse) => void
export type Reply = PlainReply | Behaviour
/** Chooses the reply by the request. */
type Standing = Reply | { readonly choose: (request: ReceivedRequest) => Reply }

export interface Receiver {
  /** `http://127.0.0.1:<port>` */
  readonly url: string
  readonly port: number
  /** All so far, in order of arrival. */
  readonly requests: readonly ReceivedRequest[]
  readonly connections: number
  /** Those of them that are open. */
  readonly openConnections: number
  /** Scripts the next requests, one reply each. */
  reply(...replies: readonly Reply[]): void
  /** What comes after the script. */
  always(standing: Standing): void
  /** Resolves with all requests once there are at least `count`. */
  received(count: number): Promise<readonly ReceivedRequest[]>
  /** Resolves when no connection is open. */
  disconnected(): Promise<void>
  /** Breaks all connections off. */
  close(): Promise<void>
}

export async function startReceiver(): Promise<Receiver> {
  const requests: ReceivedRequest[] = []
  const script: Reply[] = []
  const waiting = new Set<{ readonly count: number; readonly wake: () => void }>()
  const connectionNumbers = new WeakMap<object, number>()
  let standing: Standing = { status: 200 }
  const open = new Set<object>()
  const leaving = new Set<() => void>()
  let connections = 0

  const server = createServer((incoming, response) => {
    // A client that breaks off is part of the game.
    incoming.on('error', () => {})
    response.on('error', () => {})
    const origin = { connection: connectionNumbers.get(incoming.socket) ?? 0, beganAt: performance.now() }
    readBody(incoming, (rawBody) => {
      const request = record(incoming, rawBody, origin)
      requests.push(request)
      for (const waiter of waiting) {
        if (requests.length >= waiter.count) waiter.wake()
      }
      const standingReply = 'choose' in standing ? standing.choose(request) : standing
      perform(script.shift() ?? standingReply, response)
    })
  })
  server.on('connection', (socket) => {
    connections += 1
    connectionNumbers.set(socket, connections)
    open.add(socket)
    socket.on('close', () => {
      open.delete(socket)
      if (open.size > 0) return
      for (const wake of leaving) wake()
      leaving.clear()
    })
  })

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the receiver has no port')

  return {
    url: `http://127.0.0.1:${address.port}`,
    port: address.port,
    requests,
    get connections() {
      return connections
    },
    get openConnections() {
      return open.size
    },
    reply: (...replies) => void script.push(...replies),
    always(next) {
      standing = next
    },
    async received(count) {
      if (requests.length < count) {
        await new Promise<void>((resolve) => {
          const waiter = { count, wake: resolve }
          waiting.add(waiter)
        })
      }
      return requests
    },
    disconnected: () =>
      new Promise((resolve) => {
        if (open.size === 0) resolve()
        else leaving.add(resolve)
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Takes the request and never answers. */
export const hang: Behaviour = () => {}

/** Takes the request and resets the connection. */
export const destroy: Behaviour = (response) => void response.socket?.resetAndDestroy()

/** Ends the connection in the middle of the answer. */
export const cutShort: Behaviour = (response) => {
  response.writeHead(200, { 'content-length': '100' })
  response.write('only this', () => response.socket?.end())
}

/** Writes bytes that are no HTTP. */
export function malformed(text = 'this is not HTTP\r\n\r\n'): Behaviour {
  return (response) => void response.socket?.end(text)
}

/** Answers after a pause. */
export function late(delayMs: number, reply: PlainReply = {}): Behaviour {
  return (response) => {
    const timer = setTimeout(() => perform(reply, response), delayMs)
    response.on('close', () => clearTimeout(timer))
  }
}

export function redirect(location: string, status = 302): PlainReply {
  return { status, headers: { location } }
}

/** Begins an answer and sends one byte at a time, for as long as the other side listens. */
export function drip(pauseMs: number): Behaviour {
  return (response) => {
    response.writeHead(200)
    const next = () => {
      response.write('.')
      timer = setTimeout(next, pauseMs)
    }
    let timer = setTimeout(next, 0)
    response.on('close', () => clearTimeout(timer))
  }
}

/** Answers with a body that has no end; `onClose` hears when the other side has had enough, and of what. */
export function endless(onClose: (sentBytes: number) => void = () => {}): Behaviour {
  return (response) => {
    response.writeHead(200)
    const chunk = Buffer.alloc(16_384, 'x')
    let sentBytes = 0
    const pump = () => {
      do sentBytes += chunk.length
      while (!response.destroyed && response.write(chunk))
    }
    response.on('drain', pump)
    response.on('close', () => onClose(sentBytes))
    pump()
  }
}

/** Writes these bytes instead of an answer, and leaves the connection open. */
export function raw(bytes: string | Buffer): Behaviour {
  return (response) => void response.socket?.write(bytes)
}

/** Writes `start` instead of an answer, and then `chunk` for as long as the other side takes it; with a pause, slowly. */
export function flood(start: string, chunk: string, pauseMs?: number): Behaviour {
  return ({ socket }) => {
    if (socket === null) return
    let timer: NodeJS.Timeout | undefined
    const pump = () => {
      let hasRoom = true
      while (hasRoom && !socket.destroyed) {
        hasRoom = socket.write(chunk) && pauseMs === undefined
      }
      if (pauseMs !== undefined && !socket.destroyed) timer = setTimeout(pump, pauseMs)
    }
    socket.on('drain', () => pauseMs === undefined && pump())
    socket.on('close', () => clearTimeout(timer))
    socket.write(start)
    pump()
  }
}

/** A port on which nobody listens: it was free a moment ago. */
export async function closedPort(): Promise<number> {
  const receiver = await startReceiver()
  await receiver.close()
  return receiver.port
}

function perform(reply: Reply, response: ServerResponse): void {
  if (typeof reply === 'function') {
    reply(response)
    return
  }
  for (const [name, value] of Object.entries(reply.headers ?? {})) response.setHeader(name, value)
  response.writeHead(reply.status ?? 200)
  response.end(reply.body ?? '')
}

function readBody(incoming: IncomingMessage, done: (body: Buffer) => void): void {
  const chunks: Buffer[] = []
  incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
  incoming.on('end', () => done(Buffer.concat(chunks)))
}

function record(
  incoming: IncomingMessage,
  rawBody: Buffer,
  origin: Pick<ReceivedRequest, 'connection' | 'beganAt'>,
): ReceivedRequest {
  const headers = Object.fromEntries(
    Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]),
  )
  return {
    method: incoming.method ?? '',
    path: incoming.url ?? '',
    headers,
    rawHeaders: incoming.rawHeaders,
    rawBody,
    body: headers['content-encoding'] === 'gzip' ? gunzipSync(rawBody) : rawBody,
    ...origin,
  }
}
