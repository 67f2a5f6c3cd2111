import { once } from 'node:events'
import { type AddressInfo, createServer, type LookupFunction, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HttpFailure, type HttpRequest } from '../../../providers/provider.ts'
import { AddressGuard } from '../../../src/egress/address-guard.ts'
import { dial } from '../../../src/egress/dial.ts'
import { createHttpClient, type HttpClientOptions } from '../../../src/egress/http-client.ts'
import { createAuthority } from '../../support/certificates.ts'
import { loopback } from '../../support/egress.ts'
import { closedHosts } from './spellings.ts'

const never = new AbortController().signal
const strict = new AddressGuard({ cidrs: [], hosts: [] })

/** Answers each question with the next list, and then again with the last one. */
function resolver(...answers: readonly (readonly string[])[]): LookupFunction & { asked: string[] } {
  const asked: string[] = []
  const lookup: LookupFunction = (hostname, _options, done) => {
    const addresses = answers[Math.min(asked.length, answers.length - 1)] ?? []
    asked.push(hostname)
    done(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
  }
  return Object.assign(lookup, { asked })
}

describe('a server on this machine', () => {
  let server: Server
  let port: number
  let connections: number
  let receivedBytes: number
  let ended: PromiseWithResolvers<void>

  beforeEach(async () => {
    connections = 0
    receivedBytes = 0
    ended = Promise.withResolvers()
    server = createServer((socket) => {
      connections += 1
      socket.on('error', () => {}).on('close', () => ended.resolve())
      socket.on('data', (chunk) => {
        receivedBytes += chunk.length
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    // A TCP server that listens has one.
    port = (server.address() as AddressInfo).port
  })
  afterEach(() => new Promise((resolve) => server.close(resolve)))

  const request = (url: string): HttpRequest => ({
    method: 'POST',
    url: new URL(url),
    headers: {},
    timeoutMs: 3_000,
  })

  async function outcome(
    url: string,
    options: HttpClientOptions = {},
  ): Promise<HttpFailure['code'] | number> {
    const http = createHttpClient(options)
    try {
      return (await http.request(request(url), never)).status
    } catch (error) {
      if (error instanceof HttpFailure) return error.code
      throw error
    } finally {
      await http.close()
    }
  }

  const here = closedHosts.filter((host) =>
    ['127.0.0.1', '0.0.0.0', '[::ffff:7f00:1]'].includes(new URL(`http://${host}`).hostname),
  )

  it.each(here)('sees no connection for http://%s', async (host) => {
    expect(await outcome(`http://${host}:${port}/`)).toBe('address_refused')
    expect(await outcome(`https://${host}:${port}/`)).toBe('address_refused')
    expect(connections).toBe(0)
  })

  it('sees one where the operator allows it', async () => {
    expect(await outcome(`http://2130706433:${port}/`, { allow: loopback })).toBe(200)
    expect(await outcome(`http://localhost:${port}/`, { allow: { cidrs: [], hosts: ['localhost'] } })).toBe(
      200,
    )
    expect(connections).toBe(2)
  })

  it.each([
    ['a name that leads there', [['127.0.0.1']]],
    ['a name that also leads there', [['8.8.8.8', '127.0.0.1']]],
    ['a name that leads there by IPv6', [['2606:4700::1', '::ffff:127.0.0.1']]],
  ])('sees no connection for %s', async (_what, answers) => {
    expect(await outcome(`http://receiver.example:${port}/`, { resolve: resolver(...answers) })).toBe(
      'address_refused',
    )
    expect(connections).toBe(0)
  })

  it('sees none for the system’s own name of this machine', async () => {
    for (const host of ['localhost', 'localhost.', 'LOCALHOST']) {
      expect(await outcome(`http://${host}:${port}/`)).toBe('address_refused')
    }
    expect(connections).toBe(0)
  })

  it('sees none for a name that leads elsewhere first and there later', async () => {
    const resolve = resolver(['127.0.0.1'], ['10.1.2.3'])
    const allow = loopback
    const http = createHttpClient({ allow, resolve })
    expect((await http.request(request(`http://receiver.example:${port}/`), never)).status).toBe(200)
    // Another connection, because the first one is not idle yet, asks again.
    const both = [1, 2].map(() => http.request(request(`http://receiver.example:${port}/`), never))
    const codes = await Promise.allSettled(both)
    expect(codes.some((one) => one.status === 'rejected' && one.reason.code === 'address_refused')).toBe(true)
    await http.close()
    // The name was asked once for each connection, and the answer that was judged is the one connected to.
    expect(resolve.asked.length).toBeLessThanOrEqual(3)
  })

  it('gets not a byte where a resolver deceived the guard', async () => {
    const deceived = dial(strict, resolver(['127.0.0.1']), { host: 'receiver.example', port, signal: never })
    await expect(deceived).rejects.toMatchObject({ code: 'address_refused' })
    await ended.promise
    expect({ connections, receivedBytes }).toEqual({ connections: 1, receivedBytes: 0 })
  })

  it('is not told apart from others by what the failure says', async () => {
    const http = createHttpClient({ resolve: resolver(['127.0.0.1']) })
    const failure: unknown = await http
      .request(request(`http://db.internal:${port}/`), never)
      .catch((error) => error)
    expect(failure).toMatchObject({
      message:
        'db.internal does not lead to public addresses only; the operator may allow it with SPILLWAY_EGRESS_ALLOW.',
    })
    await http.close()
  })

  it.each(['http://user@127.0.0.1', 'http://:pass@127.0.0.1', 'ftp://127.0.0.1', 'file:///etc/passwd'])(
    'is not called as %s, allowed or not',
    async (url) => {
      expect(await outcome(url, { allow: loopback })).toBe('address_refused')
      expect(connections).toBe(0)
    },
  )
})

describe('a connection under way', () => {
  const authority = createAuthority('test CA')
  const open = new Set<Socket>()

  async function listening(server: Server): Promise<number> {
    server.on('connection', (socket: Socket) => {
      open.add(socket)
      socket.on('error', () => {}).on('close', () => open.delete(socket))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }

  it('ends with the client, in the middle of a TLS handshake', async () => {
    const server = createServer((socket) => void socket.resume())
    const port = await listening(server)
    const http = createHttpClient({ allow: loopback })
    const pending = http.request(
      { method: 'GET', url: new URL(`https://127.0.0.1:${port}`), headers: {}, timeoutMs: 60_000 },
      never,
    )
    const refused = expect(pending).rejects.toMatchObject({ code: 'aborted' })
    const [socket] = (await once(server, 'connection')) as [Socket]
    const closed = once(socket, 'close')
    await http.close()
    await refused
    await closed
    await new Promise((resolve) => server.close(resolve))
  })

  it('is secured for the name in the URL', async () => {
    const names: unknown[] = []
    const own = authority.issue({ name: 'receiver', hosts: ['receiver.example'] })
    const server = createTlsServer(own, (socket) => {
      names.push(socket.servername)
      socket.on('error', () => {})
      socket.once('data', () => socket.end('HTTP/1.1 204 No Content\r\n\r\n'))
    })
    const port = await listening(server)
    const http = createHttpClient({ allow: loopback, resolve: resolver(['127.0.0.1']) })
    const url = new URL(`https://receiver.example:${port}`)
    const tls = { ca: authority.cert }
    const answer = await http.request({ method: 'GET', url, headers: {}, timeoutMs: 5_000, tls }, never)
    expect(answer.status).toBe(204)
    expect(names).toEqual(['receiver.example'])
    await http.close()
    await new Promise((resolve) => server.close(resolve))
  })
})
