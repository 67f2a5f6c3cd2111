/** A plain TCP socket, unguarded: the guard and the way to the operator's proxy are built on it. */
import { connect, type LookupFunction, type Socket } from 'node:net'

export interface SocketTarget {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string
  readonly port: number
  readonly lookup?: LookupFunction
  /** Destroys the socket, before and after it is connected. */
  readonly signal: AbortSignal
}

export function openSocket(target: SocketTarget): Socket {
  const socket = connect({
    ...target,
    // As undici's own connector: nothing waits to fill a packet, and a peer that is gone is noticed.
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
  })
  // Between two owners nobody else listens.
  socket.on('error', () => {})
  return socket
}
