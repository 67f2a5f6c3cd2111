/**
 * Opens connections: TCP, through the guard or through the operator's proxy, and TLS on top.
 *
 * With the guard an address is judged before there is a socket (where the host is an address), while the
 * name is resolved, and once more when the connection stands, before a byte is written, TLS's own included.
 * The last one holds even if a resolver says one thing to us and another to the socket.
 *
 * A connection is there within 10 s or not at all, and `closing` breaks off what is under way.
 */
import type { LookupFunction, Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import { buildConnector } from 'undici'
import { type AddressGuard, guardedLookup, plainHost } from './address-guard.ts'
import { httpFailure } from './failure.ts'
import { withinTime } from './limit.ts'
import { meter } from './meter.ts'
import { inSips } from './sips.ts'
import { openSocket } from './socket.ts'
import { type EgressProxy, openTunnel } from './tunnel.ts'

export interface DialOptions {
  readonly guard: AddressGuard
  readonly resolve: LookupFunction
  readonly proxy?: EgressProxy
  /** Its reason is what connections under way fail with. */
  readonly closing: AbortSignal
}

/** Of name resolution, TCP, the proxy's answer and the TLS handshake together. */
const connectTimeoutMs = 10_000

/** A connector for undici. Each has TLS sessions of its own, so none is resumed under another identity. */
export function createConnector(
  options: DialOptions,
  secureContext?: SecureContext,
): buildConnector.connector {
  const secure = buildConnector({
    allowH2: false,
    timeout: connectTimeoutMs,
    ...(secureContext && { secureContext }),
  })
  const limit = {
    timeoutMs: connectTimeoutMs,
    message: `No connection came about within ${connectTimeoutMs} ms.`,
    signal: options.closing,
  }
  return (target, callback) => {
    void withinTime(limit, (signal) => open(options, target, secure, signal)).then(
      (socket) => callback(null, meter(inSips(socket))),
      // Never an error of undici's own: after some of them it connects again, without end.
      (error: unknown) => callback(httpFailure(error), null),
    )
  }
}

async function open(
  options: DialOptions,
  target: buildConnector.Options,
  secure: buildConnector.connector,
  signal: AbortSignal,
): Promise<Socket> {
  const isSecure = target.protocol === 'https:'
  const port = Number(target.port) || (isSecure ? 443 : 80)
  const socket = await reach(options, target.hostname, port, signal)
  return isSecure ? upgrade(socket, target, secure, signal) : socket
}

function reach(options: DialOptions, host: string, port: number, signal: AbortSignal): Promise<Socket> {
  const { guard, resolve, proxy } = options
  if (proxy === undefined) return dial(guard, guardedLookup(guard, resolve), { host, port, signal })
  const refusal = guard.refusalThroughProxy(host)
  return refusal ? Promise.reject(refusal) : openTunnel(proxy, { host, port, signal })
}

interface Target {
  readonly host: string
  readonly port: number
  readonly signal: AbortSignal
}

/** TCP to an address that the guard permits. What `lookup` lets through is judged again. */
export function dial(guard: AddressGuard, lookup: LookupFunction, target: Target): Promise<Socket> {
  const { host } = target
  return new Promise((resolve, reject) => {
    const refusal = guard.refusalOfLiteral(host)
    if (refusal) {
      reject(refusal)
      return
    }
    const socket = openSocket({ ...target, host: plainHost(host), lookup })
    socket.once('error', reject)
    socket.once('connect', () => {
      const refusal = guard.refusal(host, socket.remoteAddress ?? '')
      if (refusal) socket.destroy(refusal)
      else resolve(socket)
    })
  })
}

function upgrade(
  socket: Socket,
  target: buildConnector.Options,
  secure: buildConnector.connector,
  signal: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      socket.destroy()
      reject(error)
    }
    // The socket above says nothing when the one beneath is destroyed.
    signal.addEventListener('abort', () => fail(signal.reason), { once: true })
    secure({ ...target, httpSocket: socket }, (error, secured) => {
      // Without a socket undici leaves the argument out, whatever its types say.
      if (secured) resolve(secured)
      else fail(error)
    })
  })
}
