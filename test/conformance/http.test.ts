import { Webhook } from 'standardwebhooks'
import { afterAll, describe, expect, it } from 'vitest'
import { destinationTypes } from '../../providers/index.ts'
import type { SenderDeps } from '../../providers/provider.ts'
import { createHttpClient } from '../../src/egress/http-client.ts'
import { loopback } from '../support/egress.ts'
import { tokenEndpoint } from '../support/fakes/token-endpoint.ts'
import { type ReceivedRequest, startReceiver } from '../support/receiver.ts'
import { batchOf, deps, event, type Fixture, now, plain } from './fixture.ts'
import { conformance } from './suite.ts'

const token = 'tok-5b1f0c9e'

const base: Omit<Fixture, 'name'> = {
  type: 'http',
  config: (url) => ({ url: `${url}/hook?key=${token}`, auth: { type: 'bearer', token } }),
  secrets: [token],
  honest({ headers, path }) {
    if (headers.authorization !== `Bearer ${token}` || path !== `/hook?key=${token}`) return { status: 401 }
    return { status: 200, body: '{"ok":true}' }
  },
  eventIds: (request) => JSON.parse(request.body.toString()).map((one: { id: string }) => one.id),
  // Any 2xx is a webhook's yes.
  falseYes: [],
}

function lines(request: ReceivedRequest): string[] {
  const text = request.body.toString()
  expect(text.endsWith('\n')).toBe(true)
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => JSON.parse(line).id)
}

conformance({ ...base, name: 'a JSON array' })
conformance({
  ...base,
  name: 'a JSON array, compressed, by PUT',
  config: (url) => ({ ...base.config(url), gzip: true, method: 'PUT' }),
})
conformance({
  ...base,
  name: 'NDJSON',
  config: (url) => ({ ...base.config(url), format: 'ndjson' }),
  eventIds: lines,
})
conformance({
  ...base,
  name: 'one request an event',
  config: (url) => ({ ...base.config(url), format: 'json_object' }),
  eventIds: (request) => [JSON.parse(request.body.toString()).id],
})
conformance({
  ...base,
  name: 'a template in NDJSON, with basic auth',
  config: (url) => ({
    url,
    auth: { type: 'basic', username: 'spillway', password: token },
    format: 'ndjson',
    template: { who: 'by {{data.actor}}', id: '{{id}}', all: '{{data}}' },
  }),
  secrets: [token, Buffer.from(`spillway:${token}`).toString('base64')],
  honest({ headers }) {
    const expected = Buffer.from(`spillway:${token}`).toString('base64')
    return { status: headers.authorization === `Basic ${expected}` ? 204 : 401 }
  },
  eventIds: lines,
})
conformance({
  ...base,
  name: 'a header of its own for the key',
  config: (url) => ({
    url,
    auth: { type: 'header', name: 'X-Api-Key', value: token },
    headers: { 'X-Team': 'core' },
  }),
  honest: ({ headers }) => ({
    status: headers['x-api-key'] === token && headers['x-team'] === 'core' ? 202 : 403,
  }),
})

const whsec = (fill: number, bytes = 32) => `whsec_${Buffer.alloc(bytes, fill).toString('base64')}`

conformance({
  ...base,
  name: 'signed by two secrets, compressed',
  config: (url) => ({ url, gzip: true, signing: { secrets: [whsec(1), whsec(2, 64)] } }),
  secrets: [1, 2].map((fill) => whsec(fill).slice('whsec_'.length)),
  honest({ headers, body }) {
    // The suite's clock is not the system's, which is all that `verify` looks at.
    const at = new Date(Number(headers['webhook-timestamp']) * 1000)
    const expected = [whsec(1), whsec(2, 64)].map((secret) =>
      new Webhook(secret).sign(headers['webhook-id'] ?? '', at, body),
    )
    return { status: headers['webhook-signature'] === expected.join(' ') ? 200 : 401 }
  },
})

const issuer = await startReceiver()
afterAll(() => issuer.close())
const tokens = tokenEndpoint({ clientId: 'spillway', clientSecret: token, tokenPrefix: 'access-9d2e' })
issuer.always({ choose: tokens.answer })

conformance({
  ...base,
  name: 'with a token of OAuth 2',
  config: (url) => ({
    url,
    auth: { type: 'oauth2', tokenUrl: issuer.url, clientId: 'spillway', clientSecret: token },
  }),
  secrets: [token, 'access-9d2e', Buffer.from(`spillway:${token}`).toString('base64')],
  honest: (request) => ({ status: tokens.admits(request) ? 200 : 401 }),
})

function configure(config: Record<string, unknown>) {
  const type = destinationTypes.find((one) => one.type === 'http')
  if (type === undefined) throw new Error('there is no http')
  return type.configure(config, plain)
}

async function exchange(
  config: Record<string, unknown>,
  replies: readonly number[],
  { events = 3, replayId, ...changes }: { events?: number; replayId?: string } & Partial<SenderDeps> = {},
) {
  const receiver = await startReceiver()
  const http = createHttpClient({ allow: loopback })
  try {
    receiver.reply(...replies.map((status) => ({ status })))
    const configured = configure({ url: receiver.url, ...config })
    const rows = Array.from({ length: events }, (_, row) => event(row))
    const batch = batchOf(configured, rows, replayId)
    const outcome = await configured
      .open({ ...deps(http), ...changes })
      .send(batch, new AbortController().signal)
    return { outcome, requests: receiver.requests }
  } finally {
    await http.close()
    await receiver.close()
  }
}

describe('http: the request', () => {
  it('carries the id and the time of the attempt in the headers of Standard Webhooks', async () => {
    const { requests } = await exchange({}, [])
    expect(requests[0]?.method).toBe('POST')
    expect(requests[0]?.headers).toMatchObject({
      'content-type': 'application/json',
      'user-agent': expect.stringMatching(/^Spillway\/\d+\.\d+\.\d+$/),
      'webhook-id': 'batch_5f0c',
      'webhook-timestamp': String(now / 1000),
      'idempotency-key': '"batch_5f0c"',
    })
    expect(requests[0]?.headers).not.toHaveProperty('content-encoding')
    expect(requests[0]?.headers).not.toHaveProperty('spillway-replay')
  })

  it.each(['json_array', 'json_object'])('says which replay it is of, as %s', async (format) => {
    const { requests } = await exchange({ format }, [], { replayId: '12' })
    expect(requests.map(({ headers }) => headers['spillway-replay'])).toEqual(requests.map(() => '12'))
  })

  it('says how the body is encoded', async () => {
    const { requests } = await exchange({ format: 'ndjson', gzip: true, method: 'PUT' }, [])
    expect(requests[0]?.method).toBe('PUT')
    expect(requests[0]?.headers).toMatchObject({
      'content-type': 'application/x-ndjson',
      'content-encoding': 'gzip',
    })
  })
})

describe('http: one request an event', () => {
  const format = 'json_object'

  it('uses an id for each event', async () => {
    const { requests } = await exchange({ format }, [])
    expect(requests.map(({ headers }) => headers['webhook-id'])).toEqual([
      'batch_5f0c_0',
      'batch_5f0c_1',
      'batch_5f0c_2',
    ])
  })

  it('goes on after a refused event and reports it', async () => {
    const { outcome, requests } = await exchange({ format }, [200, 422, 200])
    expect(requests).toHaveLength(3)
    expect(outcome).toMatchObject({
      kind: 'partial',
      refused: [{ index: 1, outcome: { kind: 'rejected', reason: { status: 422 } } }],
    })
  })

  it.each([
    { status: 503, kind: 'retry' },
    { status: 401, kind: 'unauthorized' },
    { status: 410, kind: 'gone' },
  ])('stops at $status and reports it for all that follow', async ({ status, kind }) => {
    const { outcome, requests } = await exchange({ format }, [400, 200, status], { events: 5 })
    expect(requests).toHaveLength(3)
    expect(outcome).toMatchObject({
      kind: 'partial',
      refused: [
        { index: 0, outcome: { kind: 'rejected' } },
        { index: 2, outcome: { kind } },
        { index: 3, outcome: { kind } },
        { index: 4, outcome: { kind } },
      ],
    })
  })

  it('is a plain outcome if the first event fails', async () => {
    const { outcome, requests } = await exchange({ format }, [503])
    expect(requests).toHaveLength(1)
    expect(outcome.kind).toBe('retry')
  })

  it('is rejected if every event is', async () => {
    const { outcome, requests } = await exchange({ format }, [400, 422, 413])
    expect(requests).toHaveLength(3)
    expect(outcome).toMatchObject({ kind: 'rejected', reason: { status: 400 } })
  })
})

describe('http: the signature', () => {
  /** What a receiver does: the headers as they came, the body without its compression. */
  const verify = (secret: string, { headers, body }: ReceivedRequest) =>
    new Webhook(secret).verify(body, headers)
  const signed = (secrets: readonly string[], config = {}, changes: Partial<SenderDeps> = {}) =>
    exchange({ ...config, signing: { secrets } }, [], { events: 2, now: Date.now, ...changes })

  it.each([
    ['as JSON', {}],
    ['compressed', { gzip: true }],
  ])('of a batch %s is verified by the library of Standard Webhooks', async (_, config) => {
    const [request] = (await signed([whsec(1)], config)).requests
    if (!request) throw new Error('nothing came')
    expect(verify(whsec(1), request)).toMatchObject([{ id: 'action:0' }, { id: 'action:1' }])
    expect(() => verify(whsec(9), request)).toThrow('No matching signature')
    expect(() => verify(whsec(1), { ...request, body: Buffer.from(`${request.body} `) })).toThrow()
    const headers = { ...request.headers, 'webhook-id': 'batch_other' }
    expect(() => verify(whsec(1), { ...request, headers })).toThrow()
  })

  it('is one for each secret, so that receivers may change theirs before or after', async () => {
    const [request] = (await signed([whsec(2), whsec(1)])).requests
    if (!request) throw new Error('nothing came')
    expect(request.headers['webhook-signature']).toMatch(/^v1,[A-Za-z0-9+/]{43}= v1,[A-Za-z0-9+/]{43}=$/)
    for (const secret of [whsec(1), whsec(2)]) expect(() => verify(secret, request)).not.toThrow()
    expect(() => verify(whsec(3), request)).toThrow('No matching signature')
  })

  it('is of each request on its own where every event has one', async () => {
    const { requests } = await signed([whsec(1)], { format: 'json_object' })
    expect(requests.map((request) => verify(whsec(1), request))).toMatchObject([
      { id: 'action:0' },
      { id: 'action:1' },
    ])
    expect(new Set(requests.map(({ headers }) => headers['webhook-signature'])).size).toBe(2)
  })

  it('is of the attempt: another time and another signature for the same id and bytes', async () => {
    const first = (await signed([whsec(1)], {}, { now: () => Date.now() - 60_000 })).requests[0]
    const second = (await signed([whsec(1)])).requests[0]
    expect(second?.headers['webhook-id']).toBe(first?.headers['webhook-id'])
    expect(second?.rawBody).toEqual(first?.rawBody)
    expect(second?.headers['webhook-timestamp']).not.toBe(first?.headers['webhook-timestamp'])
    expect(second?.headers['webhook-signature']).not.toBe(first?.headers['webhook-signature'])
  })

  it('is not there without a secret', async () => {
    expect((await exchange({}, [])).requests[0]?.headers).not.toHaveProperty('webhook-signature')
  })
})
