import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HttpFailure } from '../../../providers/provider.ts'
import { parseConfig } from '../../../src/config.ts'
import { createHttpClient } from '../../../src/egress/http-client.ts'
import { createAuthority } from '../../support/certificates.ts'
import { loopback } from '../../support/egress.ts'
import { type ConnectProxy, startProxy } from '../../support/proxy.ts'
import { closedPort, type Receiver, startReceiver } from '../../support/receiver.ts'

const never = new AbortController().signal
const authority = createAuthority('test CA')

describe('through a proxy', () => {
  let receiver: Receiver
  let proxy: ConnectProxy

  beforeEach(async () => {
    receiver = await startReceiver()
    proxy = await startProxy()
  })
  afterEach(async () => {
    await proxy.close()
    await receiver.close()
  })

  async function send(proxyUrl: string, url: string, timeoutMs = 5_000): Promise<number | HttpFailure> {
    const { egressProxy } = parseConfig({ SPILLWAY_EGRESS_PROXY: proxyUrl })
    const http = createHttpClient({
      proxy: egressProxy,
      resolve: () => {
        throw new Error('the proxy resolves names')
      },
    })
    try {
      return (
        await http.request({ method: 'POST', url: new URL(url), headers: {}, body: 'x', timeoutMs }, never)
      ).status
    } catch (error) {
      if (error instanceof HttpFailure) return error
      throw error
    } finally {
      await http.close()
    }
  }

  const here = () => `http://127.0.0.1:${proxy.port}`
  const there = (path = '/') => `http://receiver.example:${receiver.port}${path}`

  it('requests go by CONNECT, with names as they are, and the credentials to the proxy alone', async () => {
    const url = `http://spill:s%3Ac%40ret@127.0.0.1:${proxy.port}`
    expect(await send(url, there('/a?b'))).toBe(200)
    expect(proxy.asked).toEqual([`receiver.example:${receiver.port}`])
    expect(proxy.authorization).toBe(`Basic ${Buffer.from('spill:s:c@ret').toString('base64')}`)
    expect(receiver.requests[0]).toMatchObject({ path: '/a?b' })
    expect(receiver.requests[0]?.headers).not.toHaveProperty('proxy-authorization')
    expect(receiver.requests[0]?.headers.host).toBe(`receiver.example:${receiver.port}`)
  })

  it('literals are refused before it is asked, and so are names that mean its own machine', async () => {
    for (const host of [
      '127.0.0.1',
      '0x7f.1',
      '[::1]',
      '10.0.0.1',
      '169.254.169.254',
      'localhost',
      'metadata.google.internal',
    ]) {
      expect(await send(here(), `http://${host}:${receiver.port}/`), host).toMatchObject({
        code: 'address_refused',
      })
    }
    expect(proxy.asked).toEqual([])
  })

  it('IPv6 is asked for in brackets, and a port is always named', async () => {
    proxy.refuseWith(502)
    await send(here(), 'http://[2606:4700::1]/')
    await send(here(), 'https://receiver.example/')
    expect(proxy.asked).toEqual(['[2606:4700::1]:80', 'receiver.example:443'])
  })

  it.each([
    [407, /refuses the credentials in SPILLWAY_EGRESS_PROXY \(407\)/],
    [403, /it answered 403 Forbidden/],
    [502, /it answered 502 Bad Gateway/],
    [302, /it answered 302 Found/],
  ])('a %i of it is a failure that says so, without its words', async (status, message) => {
    proxy.refuseWith(status)
    const failure = await send(`http://spill:s3cret@127.0.0.1:${proxy.port}`, there())
    expect(failure).toMatchObject({ code: 'egress_proxy', message: expect.stringMatching(message) })
    const shown = inspect(failure, { depth: null, showHidden: true })
    expect(shown).not.toMatch(/hush|s3cret|c3BpbGw6/)
    expect(receiver.connections).toBe(0)
  })

  it('it may be away', async () => {
    const failure = await send(`http://spill:s3cret@127.0.0.1:${await closedPort()}`, there())
    expect(failure).toMatchObject({
      code: 'egress_proxy',
      message: 'No connection to the egress proxy came about (ECONNREFUSED).',
    })
    expect(inspect(failure, { depth: null })).not.toMatch(/s3cret|c3BpbGw6/)
  })

  it('it may speak no HTTP, or break off', async () => {
    const odd = await startReceiver()
    // Not a proxy: an ordinary server refuses the method by closing the connection.
    expect(await send(`http://127.0.0.1:${odd.port}`, there())).toMatchObject({ code: 'egress_proxy' })
    // Nor is it one behind TLS.
    expect(await send(`https://127.0.0.1:${odd.port}`, there())).toMatchObject({ code: 'egress_proxy' })
    await odd.close()
  })

  it('it may never answer', async () => {
    proxy.hang()
    expect(await send(here(), there(), 100)).toMatchObject({ code: 'timeout' })
  })

  it('TLS is with the receiver, not with the proxy', async () => {
    const { createServer } = await import('node:https')
    const server = createServer(
      authority.issue({ name: 'r', hosts: ['receiver.example'] }),
      (_request, response) => response.end('hello'),
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const { egressProxy } = parseConfig({ SPILLWAY_EGRESS_PROXY: here() })
    const http = createHttpClient({ proxy: egressProxy })
    const get = (ca: string) =>
      http.request(
        {
          method: 'GET',
          url: new URL(`https://receiver.example:${port}/`),
          headers: {},
          timeoutMs: 5_000,
          tls: { ca },
        },
        never,
      )
    expect((await get(authority.cert)).body).toBe('hello')
    await expect(get(createAuthority('another').cert)).rejects.toMatchObject({ code: 'tls' })
    await http.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  it('a proxy behind TLS that nobody vouches for is not told the credentials', async () => {
    const secure = await startProxy(authority.issue({ name: 'proxy', hosts: ['127.0.0.1'] }))
    const failure = await send(`https://spill:s3cret@127.0.0.1:${secure.port}`, there())
    expect(failure).toMatchObject({ code: 'egress_proxy' })
    expect(secure.asked).toEqual([])
    await secure.close()
  })

  it('without one, and with an allowance, the same receiver is reached directly', async () => {
    const http = createHttpClient({ allow: loopback })
    const url = new URL(`http://127.0.0.1:${receiver.port}/`)
    expect((await http.request({ method: 'GET', url, headers: {}, timeoutMs: 5_000 }, never)).status).toBe(
      200,
    )
    expect(proxy.asked).toEqual([])
    await http.close()
  })
})
