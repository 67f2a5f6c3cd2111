import { once } from 'node:events'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { TlsIdentity } from '../../../providers/provider.ts'
import { type ClosableHttpClient, createHttpClient } from '../../../src/egress/http-client.ts'
import { IdentityPools } from '../../../src/egress/identities.ts'
import { createAuthority } from '../../support/certificates.ts'
import { loopback } from '../../support/egress.ts'

const never = new AbortController().signal
const authority = createAuthority('the receiver’s CA')
const stranger = createAuthority('another CA')
const ca = authority.cert
const alice = authority.issue({ name: 'alice' })
const bob = authority.issue({ name: 'bob' })
const mallory = stranger.issue({ name: 'mallory' })

describe('a receiver that asks for a client certificate', () => {
  let server: Server
  let url: URL
  let http: ClosableHttpClient
  let connections = 0

  beforeAll(async () => {
    const own = authority.issue({ name: 'receiver', hosts: ['127.0.0.1', 'receiver.example'] })
    server = createServer(
      { ...own, ca, requestCert: true, rejectUnauthorized: true },
      (incoming, response) => {
        const { subject } = (incoming.socket as TLSSocket).getPeerCertificate()
        response.end(String(subject?.CN))
      },
    )
    server.on('secureConnection', () => {
      connections += 1
    })
    server.on('tlsClientError', () => {})
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    url = new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })
  beforeEach(() => {
    connections = 0
    http = createHttpClient({ allow: loopback })
  })
  afterEach(() => http.close())

  const get = (tls?: TlsIdentity) =>
    http.request({ method: 'GET', url, headers: {}, timeoutMs: 5_000, ...(tls && { tls }) }, never)

  it('sees the certificate that the request brings', async () => {
    expect((await get({ ca, ...alice })).body).toBe('alice')
    expect((await get({ ca, ...bob })).body).toBe('bob')
  })

  it('never sees two of them on one connection, whatever was open before', async () => {
    const identities = [
      { ca, ...alice },
      { ca, ...bob },
    ]
    const requests = Array.from({ length: 40 }, (_, index) => get(identities[index % 2]))
    const names = (await Promise.all(requests)).map(({ body }) => body)
    expect(names).toEqual(names.map((_, index) => (index % 2 === 0 ? 'alice' : 'bob')))
    for (let round = 0; round < 5; round += 1) {
      expect((await get(identities[0])).body).toBe('alice')
      expect((await get(identities[1])).body).toBe('bob')
    }
  })

  it('keeps its connection for equal contents in another object', async () => {
    for (let n = 0; n < 5; n += 1) {
      await get({ ca, ...alice })
      // undici takes the connection back in the next turn of the event loop.
      await nextTurn()
    }
    expect(connections).toBe(1)
  })

  it('refuses one without, and one of another authority, as a TLS failure', async () => {
    await expect(get({ ca })).rejects.toMatchObject({
      code: expect.stringMatching(/^(tls|connection_reset)$/),
    })
    await expect(get({ ca, ...mallory })).rejects.toMatchObject({
      code: expect.stringMatching(/^(tls|connection_reset)$/),
    })
  })

  it('is not trusted without its CA, also when another identity has trusted it a moment ago', async () => {
    await get({ ca, ...alice })
    await expect(get(alice)).rejects.toMatchObject({ code: 'tls' })
    await expect(get({ ...alice, ca: stranger.cert })).rejects.toMatchObject({ code: 'tls' })
    await expect(get()).rejects.toMatchObject({ code: 'tls' })
  })

  it('is not trusted under another name', async () => {
    const resolving = createHttpClient({
      allow: loopback,
      resolve: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
    })
    const at = (host: string) =>
      resolving.request(
        {
          method: 'GET',
          url: new URL(`https://${host}:${url.port}`),
          headers: {},
          timeoutMs: 5_000,
          tls: { ca, ...alice },
        },
        never,
      )
    expect((await at('receiver.example')).body).toBe('alice')
    await expect(at('other.example')).rejects.toMatchObject({ code: 'tls' })
    await resolving.close()
  })

  it.each([
    { ca, cert: alice.cert, key: 'no PEM, but s3cret' },
    { ca, cert: 'no PEM, but s3cret', key: alice.key },
    { ca, cert: alice.cert, key: bob.key },
  ])('is not called with an identity that cannot be read', async (tls) => {
    const failure = await get(tls).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'tls', message: expect.stringContaining('cannot be read as PEM') })
    expect(JSON.stringify(failure) + (failure as Error).stack).not.toContain('s3cret')
    expect((failure as Error).cause).toBeUndefined()
    expect(connections).toBe(0)
  })
})

describe('pools by identity', () => {
  /** Their contents matter only where a context is made of them; these are real. */
  const identities = Array.from({ length: 10 }, (_, n) => ({ ca: createAuthority(`CA ${n}`).cert }))

  class FakeAgent {
    readonly whenDestroyed = Promise.withResolvers<void>()
    destroyed = false

    async destroy(): Promise<void> {
      this.destroyed = true
      this.whenDestroyed.resolve()
    }
  }

  it('keeps no more idle ones than it may, the latest used', async () => {
    const opened: FakeAgent[] = []
    const open = () => {
      const agent = new FakeAgent()
      opened.push(agent)
      return agent
    }
    const pools = new IdentityPools({ open, maxIdle: 3 })
    for (const identity of identities) await pools.use(identity, async () => {})
    expect(pools.size).toBe(3)
    expect(opened.map(({ destroyed }) => destroyed)).toEqual([...Array(7).fill(true), false, false, false])
    await pools.use(identities[9], async () => {})
    expect(opened).toHaveLength(10)
    await pools.close()
    expect(opened.every(({ destroyed }) => destroyed)).toBe(true)
  })

  it('closes none that is in use, however many there are', async () => {
    const pools = new IdentityPools({ open: () => new FakeAgent(), maxIdle: 0 })
    const gate = Promise.withResolvers<void>()
    const uses = identities.map((identity) =>
      pools.use(identity, async (agent) => {
        await gate.promise
        return agent.destroyed
      }),
    )
    expect(pools.size).toBe(10)
    gate.resolve()
    expect(await Promise.all(uses)).toEqual(Array(10).fill(false))
    expect(pools.size).toBe(0)
    await pools.close()
  })

  it('closes one that nobody has used for a while, and never the one without identity', async () => {
    const pools = new IdentityPools({ open: () => new FakeAgent(), idleMs: 5 })
    const first = await pools.use(undefined, async (agent) => agent)
    const agent = await pools.use(identities[0], async (agent) => agent)
    await agent.whenDestroyed.promise
    expect(pools.size).toBe(1)
    expect(await pools.use(undefined, async (agent) => agent)).toBe(first)
    await pools.close()
  })

  it('opens nothing after the end', async () => {
    const pools = new IdentityPools({ open: () => new FakeAgent() })
    await pools.close()
    await expect(pools.use(undefined, async () => {})).rejects.toMatchObject({ code: 'aborted' })
  })
})
