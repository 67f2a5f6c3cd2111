import { expect, test } from 'vitest'
import {
  type HttpAnswer,
  type HttpClient,
  HttpFailure,
  type HttpRequest,
} from '../../../providers/provider.ts'
import { traced } from '../../../src/egress/traced.ts'
import { LeaseLostError } from '../../../src/errors.ts'
import { noTracing } from '../../../src/telemetry/tracing.ts'
import { RememberedSpans } from '../../support/spans.ts'

const answer: HttpAnswer = { status: 200, headers: {}, body: '' }
const request = (url: string, headers: Record<string, string> = {}): HttpRequest => ({
  method: 'POST',
  url: new URL(url),
  headers,
  body: 'body',
  timeoutMs: 1_000,
})
const never = new AbortController().signal

function taking(sent: HttpRequest[]): HttpClient {
  return {
    async request(each) {
      sent.push(each)
      return answer
    },
  }
}

test('a request carries its span, and the span says whom it called and nothing of the path', async () => {
  const spans = new RememberedSpans()
  const sent: HttpRequest[] = []
  const client = traced(taking(sent), spans)
  expect(
    await client.request(request('https://[2001:db8::1]/secret?key=secret', { 'x-a': 'b' }), never),
  ).toBe(answer)
  expect(sent).toEqual([
    { ...request('https://[2001:db8::1]/secret?key=secret'), headers: { 'x-a': 'b', ...spans.headers } },
  ])
  expect(spans.ended).toEqual([
    {
      name: 'POST',
      kind: 'client',
      attributes: {
        'http.request.method': 'POST',
        'server.address': '2001:db8::1',
        'server.port': 443,
        'url.scheme': 'https',
        'http.response.status_code': 200,
      },
      failure: undefined,
    },
  ])
})

test('a traceparent that the destination’s own headers hold goes out alone', async () => {
  const sent: HttpRequest[] = []
  const client = traced(taking(sent), new RememberedSpans())
  await client.request(request('http://a.example/', { TraceParent: 'theirs' }), never)
  expect(sent[0]?.headers).toEqual({ TraceParent: 'theirs' })
})

test('without tracing nothing is added', async () => {
  const sent: HttpRequest[] = []
  const client = traced(taking(sent), noTracing)
  await client.request(request('http://a.example/', { 'x-a': 'b' }), never)
  expect(sent[0]?.headers).toEqual({ 'x-a': 'b' })
})

test.each([
  ['an answer of 4xx', async () => ({ ...answer, status: 429 }), '429'],
  ['a failure', () => Promise.reject(new HttpFailure('dns', 'about secret.example')), 'dns'],
  ['an error nobody foresaw', () => Promise.reject(new TypeError('secret')), 'TypeError'],
] as const)('%s marks the span by a code', async (_, respond, code) => {
  const spans = new RememberedSpans()
  await traced({ request: respond }, spans)
    .request(request('http://a.example/'), never)
    .catch(() => {})
  expect(spans.ended).toMatchObject([{ failure: code }])
  expect(JSON.stringify(spans.ended)).not.toContain('secret')
})

test.each([
  ['a stop breaks off', AbortSignal.abort().reason],
  ['has no lease any more', new LeaseLostError('the lease of shard 3 has ended')],
])('a request that %s has not failed', async (_, reason) => {
  const spans = new RememberedSpans()
  const client = traced({ request: () => Promise.reject(reason) }, spans)
  await expect(client.request(request('http://a.example/'), never)).rejects.toBe(reason)
  expect(spans.ended).toMatchObject([{ failure: undefined, attributes: { 'spillway.aborted': true } }])
})
