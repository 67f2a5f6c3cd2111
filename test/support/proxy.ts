/** An HTTP proxy that knows CONNECT and nothing else, on a local port; with TLS where a certificate is given. */
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import type { Duplex } from 'node:stream'
import type { IssuedCertificate } from './certificates.ts'

export interface ConnectProxy {
  readonly port: number
  /** What it was asked for, in order: `host:port`. */
  readonly asked: readonly string[]
  /** The credentials that came with the last request. */
  readonly authorization: string | undefined
  /** Answers everything with this status instead. */
  refuseWith(status: number | undefined): void
  /** Takes requests and never answers. */
  hang(): void
  close(): Promise<void>
}

/** Wherever a name leads for the world, the proxy takes it to this machine. */
export async function startProxy(certificate?: IssuedCertificate): Promise<ConnectProxy> {
  const server: Server = certificate ? createSecureServer(certificate) : createServer()
  const asked: string[] = []
  const open = new Set<Duplex>()
  let authorization: string | undefined
  let status: number | undefined
  let hanging = false
  server.on('tlsClientError', () => {})
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    open.add(socket)
    socket.on('error', () => {}).on('close', () => open.delete(socket))
    asked.push(request.url ?? '')
    authorization = request.headers['proxy-authorization']
    if (hanging) return
    if (status !== undefined) {
      socket.end(`HTTP/1.1 ${status} No\r\nx-hush: hush\r\ncontent-length: 4\r\n\r\nhush`)
      return
    }
    const onward = connect(Number(/\d+$/.exec(request.url ?? '')?.[0]), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      onward.pipe(socket)
      socket.pipe(onward)
    })
    onward.on('error', () => socket.destroy()).on('close', () => socket.destroy())
    socket.on('close', () => onward.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    // A TCP server that listens has one.
    port: (server.address() as AddressInfo).port,
    asked,
    get authorization() {
      return authorization
    },
    refuseWith(next) {
      status = next
    },
    hang() {
      hanging = true
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
        for (const socket of open) socket.destroy()
      }),
  }
}
