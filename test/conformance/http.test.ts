import { describe, expect, it } from 'vitest'
import { destinationTypes } from '../../providers/index.ts'
import { createHttpClient } from '../../src/egress/http-client.ts'
import { type ReceivedRequest, startReceiver } from '../support/receiver.ts'
import { batchOf, deps, event, type Fixture, now } from './fixture.ts'
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

function configure(config: Record<string, unknown>) {
  const type = destinationTypes.find((one) => one.type === 'http')
  if (type === undefined) throw new Error('there is no http')
  return type.configure(config)
}

async function exchange(
  config: Record<string, unknown>,
  replies: readonly number[],
  { events = 3, replayId }: { events?: number; replayId?: string } = {},
) {
  const receiver = await startReceiver()
  const http = createHttpClient()
  try {
    receiver.reply(...replies.map((status) => ({ status })))
    const configured = configure({ url: receiver.url, ...config })
    const rows = Array.from({ length: events }, (_, row) => event(row))
    const batch = batchOf(configured, rows, replayId)
    const outcome = await configured.open(deps(http)).send(batch, new AbortController().signal)
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
