/** `tls` of `http`, against a receiver that asks for a client certificate. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { http as provider } from '../../providers/http/index.ts'
import { destinationType, type Outcome } from '../../providers/provider.ts'
import { type ClosableHttpClient, createHttpClient } from '../../src/egress/http-client.ts'
import { createAuthority } from '../support/certificates.ts'
import { loopback } from '../support/egress.ts'
import { batchOf, deps, event, now, plain } from './fixture.ts'

const authority = createAuthority('the receiver’s CA')
const stranger = createAuthority('another CA')
const [ca, { cert, key }] = [authority.cert, authority.issue({ name: 'alice' })]

let server: Server
let url: string
let http: ClosableHttpClient
const names: string[] = []

beforeAll(async () => {
  const own = authority.issue({ name: 'receiver', hosts: ['127.0.0.1'] })
  server = createServer({ ...own, ca, requestCert: true, rejectUnauthorized: true }, (incoming, response) => {
    names.push(String((incoming.socket as TLSSocket).getPeerCertificate().subject.CN))
    response.end()
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})
beforeEach(() => {
  names.length = 0
  http = createHttpClient({ allow: loopback })
})
afterEach(() => http.close())

async function send(tls: Record<string, unknown>): Promise<Outcome> {
  const configured = destinationType(provider).configure({ url, tls }, plain)
  const sender = configured.open(deps(http))
  try {
    return await sender.send(batchOf(configured, [event(1)]), new AbortController().signal)
  } finally {
    await sender.close()
  }
}

it('shows the certificate of the destination to a receiver whose authority it trusts', async () => {
  expect(await send({ ca, cert, key })).toEqual({ kind: 'accepted' })
  expect(names).toEqual(['alice'])
})

it.each([
  ['trusts another authority', { ca: stranger.cert, cert, key }],
  ['trusts the authorities of the system', { cert, key }],
])('does not send when it %s', async (_, tls) => {
  expect(await send(tls)).toMatchObject({ kind: 'retry', reason: { code: 'tls' } })
  expect(names).toEqual([])
})

it.each([
  ['none', { ca }],
  ['one of another authority', { ca, ...stranger.issue({ name: 'mallory' }) }],
])('keeps the events when the receiver wants a certificate and gets %s', async (_, tls) => {
  const outcome = await send(tls)
  expect(outcome).toMatchObject({ kind: 'retry' })
  expect(JSON.stringify(outcome)).not.toContain('expired')
  expect(names).toEqual([])
})

it('says so when the receiver refuses a certificate that has expired', async () => {
  const expired = authority.issue({ name: 'alice', notAfter: new Date(now - 1) })
  expect(await send({ ca, ...expired })).toMatchObject({
    kind: 'retry',
    reason: { message: expect.stringMatching(/The client certificate expired on 2026-03-01T11:59:59/) },
  })
  expect(names).toEqual([])
})
