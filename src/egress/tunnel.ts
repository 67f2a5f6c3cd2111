/**
 * A way through the operator's proxy (`SPILLWAY_EGRESS_PROXY`): HTTP CONNECT, for http and https alike. Who
 * the proxy is, is the operator's word, so its address passes no guard. Its credentials are in one request
 * header and in no message (I8).
 */
import { request as httpRequest, type IncomingMessage, STATUS_CODES } from 'node:http'
import { isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { HttpFailure } from '../../providers/provider.ts'
import { systemCodeOf } from './failure.ts'
import { openSocket, type SocketTarget } from './socket.ts'

export interface EgressProxy {
  readonly secure: boolean
  /** A name or an address, IPv6 without brackets. */
  readonly host: string
  readonly port: number
  /** The value of `Proxy-Authorization`. */
  readonly authorization?: string
}

/** A socket whose other end is the target. Throws `HttpFailure`. */
export async function openTunnel(proxy: EgressProxy, { host, port, signal }: SocketTarget): Promise<Socket> {
  const socket = await reachProxy(proxy, signal)
  const authority = `${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${port}`
  const { status, head } = await askFor(authority, proxy, socket, signal)
  if (status < 200 || status >= 300) {
    socket.destroy()
    throw new HttpFailure('egress_proxy', refusalSentence(status))
  }
  if (head.length > 0) socket.unshift(head)
  return socket
}

async function reachProxy({ secure, host, port }: EgressProxy, signal: AbortSignal): Promise<Socket> {
  const socket = openSocket({ host, port, signal })
  try {
    await happens(socket, 'connect')
    if (!secure) return socket
    const servername = isIP(host) === 0 ? { servername: host } : {}
    const secured = connectTls({ socket, host, ...servername, ALPNProtocols: ['http/1.1'] })
    secured.on('error', () => {})
    await happens(secured, 'secureConnect')
    return secured
  } catch (error) {
    socket.destroy()
    throw unreachable(error)
  }
}

/** Resolves with the event; rejects with an error, or with the end of the socket. */
function happens(socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(event, resolve)
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed')))
  })
}

interface ProxyAnswer {
  readonly status: number
  /** What came after the answer already. */
  readonly head: Buffer
}

function askFor(
  authority: string,
  { authorization }: EgressProxy,
  socket: Socket,
  signal: AbortSignal,
): Promise<ProxyAnswer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      method: 'CONNECT',
      path: authority,
      headers: { host: authority, ...(authorization && { 'proxy-authorization': authorization }) },
      createConnection: () => socket,
      signal,
    })
    // Whatever the status: the method makes the rest of the connection opaque to HTTP.
    request.once('connect', (answer: IncomingMessage, _socket: unknown, head: Buffer) => {
      resolve({ status: answer.statusCode ?? 0, head })
    })
    request.on('error', (error) => {
      socket.destroy()
      reject(unreachable(error))
    })
    request.end()
  })
}

function unreachable(error: unknown): HttpFailure {
  const code = systemCodeOf(error)
  const detail = code === undefined ? '' : ` (${code})`
  return new HttpFailure('egress_proxy', `No connection to the egress proxy came about${detail}.`)
}

function refusalSentence(status: number): string {
  if (status === 407) return 'The egress proxy refuses the credentials in SPILLWAY_EGRESS_PROXY (407).'
  const name = STATUS_CODES[status]
  const answer = name === undefined ? `${status}` : `${status} ${name}`
  return `The egress proxy opened no way to the receiver; it answered ${answer}.`
}
