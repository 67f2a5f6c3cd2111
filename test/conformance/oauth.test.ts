/** OAuth 2 client credentials of `http`, and the token endpoint that stands for all others. */
import * as oauth from 'oauth4webapi'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { http as provider } from '../../providers/http/index.ts'
import { destinationType, type Outcome, type Sender } from '../../providers/provider.ts'
import { type ClosableHttpClient, createHttpClient } from '../../src/egress/http-client.ts'
import { loopback } from '../support/egress.ts'
import {
  type TokenEndpoint,
  type TokenEndpointOptions,
  tokenEndpoint,
} from '../support/fakes/token-endpoint.ts'
import { closedPort, hang, type Receiver, type Reply, startReceiver } from '../support/receiver.ts'
import { batchOf, deps, event, now, plain } from './fixture.ts'

const clientId = 'spill way:1'
const clientSecret = 'p%s+w o:rd~ 7c1e'

let issuer: Receiver
let receiver: Receiver
let http: ClosableHttpClient
let endpoint: TokenEndpoint

beforeEach(async () => {
  issuer = await startReceiver()
  receiver = await startReceiver()
  http = createHttpClient({ allow: loopback })
  issue({})
})
afterEach(async () => {
  await http.close()
  await issuer.close()
  await receiver.close()
})

/** From now on tokens are given like this; the receiver takes the newest alone. */
function issue(options: Partial<TokenEndpointOptions>): void {
  endpoint = tokenEndpoint({ clientId, clientSecret, ...options })
  issuer.always({ choose: endpoint.answer })
  receiver.always({ choose: (request) => ({ status: endpoint.admits(request) ? 200 : 401 }) })
}

describe('the fake token endpoint', () => {
  const as = () => ({ issuer: 'https://issuer.example', token_endpoint: issuer.url })
  const client: oauth.Client = { client_id: clientId }

  async function grant(authentication: oauth.ClientAuth) {
    const parameters = { scope: 'a b' }
    const options = { [oauth.allowInsecureRequests]: true }
    const answer = await oauth.clientCredentialsGrantRequest(
      as(),
      client,
      authentication,
      parameters,
      options,
    )
    return oauth.processClientCredentialsResponse(as(), client, answer)
  }

  it.each([
    ['header', oauth.ClientSecretBasic],
    ['body', oauth.ClientSecretPost],
  ])('gives an official client a token that names itself in the %s', async (_, authenticate) => {
    expect(await grant(authenticate(clientSecret))).toMatchObject({
      access_token: endpoint.tokens[0],
      token_type: 'bearer',
      expires_in: 3600,
    })
    expect(endpoint.asked).toEqual([{ scope: 'a b', audience: null }])
  })

  it.each([oauth.ClientSecretBasic, oauth.ClientSecretPost])(
    'refuses it with a wrong secret',
    async (authenticate) => {
      await expect(grant(authenticate('wrong'))).rejects.toMatchObject({ status: 401 })
      expect(endpoint.tokens).toEqual([])
    },
  )
})

/** A sender with a clock of its own. */
function open(changes: Record<string, unknown> = {}, timeoutMs = 5_000) {
  const clock = { now }
  const auth = { type: 'oauth2', tokenUrl: `${issuer.url}/token`, clientId, clientSecret, ...changes }
  const configured = destinationType(provider).configure({ url: receiver.url, auth, timeoutMs }, plain)
  const sender = configured.open({ ...deps(http), now: () => clock.now })
  const send = (signal = new AbortController().signal, events = [event(1)]): Promise<Outcome> =>
    sender.send(batchOf(configured, events), signal)
  return { clock, send, sender: sender satisfies Sender }
}

describe('a token', () => {
  it.each([
    ['basic', { scope: 'logs:write x', audience: 'https://siem.example' }],
    ['body', {}],
  ])('is asked for by %s and sent with the batch', async (clientAuthentication, more) => {
    const { send } = open({ clientAuthentication, ...more })
    expect(await send()).toEqual({ kind: 'accepted' })
    expect(receiver.requests[0]?.headers.authorization).toBe(`Bearer ${endpoint.tokens[0]}`)
    expect(endpoint.asked).toEqual([{ scope: null, audience: null, ...more }])
    expect(issuer.requests[0]?.path).toBe('/token')
  })

  it.each([
    { expiresIn: 3600, until: 3_540_000 },
    { expiresIn: '3600', until: 3_540_000 },
    { expiresIn: 60, until: 45_000 },
    { expiresIn: null, until: 240_000 },
    { expiresIn: 'soon', until: 240_000 },
    { expiresIn: -5, until: 0 },
    { expiresIn: 0, until: 0 },
    { expiresIn: 1e12, until: 86_340_000 },
  ])('that lives for $expiresIn s serves for $until ms', async ({ expiresIn, until }) => {
    issue({ expiresIn })
    const { send, clock } = open()
    await send()
    clock.now = now + Math.max(until - 1, 0)
    await send()
    expect(endpoint.tokens).toHaveLength(until === 0 ? 2 : 1)
    clock.now = now + until
    expect(await send()).toEqual({ kind: 'accepted' })
    expect(endpoint.tokens).toHaveLength(until === 0 ? 3 : 2)
  })

  it('is asked for once by sends at the same moment', async () => {
    const { send } = open()
    const outcomes = await Promise.all(Array.from({ length: 8 }, () => send()))
    expect(outcomes).toEqual(Array.from({ length: 8 }, () => ({ kind: 'accepted' })))
    expect(endpoint.tokens).toHaveLength(1)
  })

  it('is asked for again after a 401, once, and the request repeated under the same id', async () => {
    const { send } = open()
    await send()
    receiver.reply({ status: 401 })
    expect(await send()).toEqual({ kind: 'accepted' })
    expect(endpoint.tokens).toHaveLength(2)
    const ids = receiver.requests.map(({ headers }) => headers['webhook-id'])
    expect(ids).toEqual(['batch_5f0c', 'batch_5f0c', 'batch_5f0c'])
    receiver.always({ status: 401 })
    expect(await send()).toMatchObject({ kind: 'unauthorized', reason: { status: 401 } })
    expect(receiver.requests).toHaveLength(5)
    expect(endpoint.tokens).toHaveLength(3)
  })

  it('is asked for once when several sends meet a 401 at the same moment', async () => {
    const { send } = open()
    await send()
    issue({ tokenPrefix: 'other' })
    expect(await Promise.all([send(), send(), send()])).toEqual(
      Array.from({ length: 3 }, () => ({ kind: 'accepted' })),
    )
    expect(endpoint.tokens).toHaveLength(1)
  })

  it.each([403, 400, 503])('is not asked for again after a %i', async (status) => {
    receiver.reply({ status })
    const { send } = open()
    expect(await send()).toMatchObject({ reason: { status } })
    expect(receiver.requests).toHaveLength(1)
    expect(endpoint.tokens).toHaveLength(1)
  })

  it('that comes back the same after a 401 is not tried twice', async () => {
    issuer.always({ body: '{"access_token":"same","token_type":"Bearer"}' })
    const { send } = open()
    expect(await send()).toMatchObject({ kind: 'unauthorized' })
    expect(receiver.requests).toHaveLength(1)
    expect(issuer.requests).toHaveLength(2)
  })
})

describe('a token endpoint', () => {
  const echo = { body: `{"error":"${clientSecret}","access_token":7}` }
  const given = (members: object) => ({
    body: JSON.stringify({ access_token: 'abc', token_type: 'Bearer', ...members }),
  })

  it.each<[string, Reply, Outcome['kind'], string]>([
    [
      'that refuses the client',
      { status: 401, body: '{"error":"invalid_client"}' },
      'unauthorized',
      '401 Unauthorized (invalid_client).',
    ],
    [
      'that refuses the client by 400',
      { status: 400, body: '{"error":"invalid_client"}' },
      'unauthorized',
      '(invalid_client).',
    ],
    ['with a reason of its own', { ...echo, status: 400 }, 'unauthorized', '400 Bad Request.'],
    ['that is forbidden', { status: 403 }, 'unauthorized', '403'],
    ['that is not there', { status: 404 }, 'retry', 'The token endpoint answered 404'],
    ['that is gone', { status: 410 }, 'retry', '410'],
    ['that is busy', { status: 429, headers: { 'retry-after': '17' } }, 'retry', '429'],
    ['that is broken', { status: 500 }, 'retry', '500'],
    [
      'that redirects',
      { status: 302, headers: { location: '/login' } },
      'retry',
      'Redirects are never followed',
    ],
    ['that answers with a page', { body: '<html>Log in</html>' }, 'retry', 'no JSON object'],
    ['that answers with a list', { body: '["abc"]' }, 'retry', 'no JSON object'],
    [
      'that answers endlessly',
      { body: `{"access_token":"abc","x":"${'x'.repeat(70_000)}"}` },
      'retry',
      'larger than 64 KiB',
    ],
    ['that gives no token', { body: '{"token_type":"Bearer"}' }, 'retry', 'no access_token'],
    ['that gives a number', echo, 'retry', 'no access_token'],
    [
      'that gives a token with a line break',
      given({ access_token: 'a\r\nHost: evil' }),
      'retry',
      'no header can carry',
    ],
    ['that gives a huge token', given({ access_token: 'a'.repeat(8_001) }), 'retry', 'more than 8000'],
    ['that gives a token of another type', given({ token_type: 'mac' }), 'retry', 'another type than Bearer'],
    [
      'that breaks off',
      (response) => void response.socket?.resetAndDestroy(),
      'retry',
      'At the token endpoint: The connection broke',
    ],
  ])('%s keeps the events, and says so without a secret', async (_, reply, kind, part) => {
    issuer.always(reply)
    const { send } = open()
    const outcome = await send()
    expect(outcome).toMatchObject({ kind, reason: { message: expect.stringContaining(part) } })
    expect(JSON.stringify(outcome)).not.toMatch(/7c1e|evil|Log in/)
    expect(receiver.requests).toEqual([])
    issue({})
    expect(await send()).toEqual({ kind: 'accepted' })
  })

  it('that asks for a pause is given it', async () => {
    issuer.always({ status: 503, headers: { 'retry-after': '17' } })
    expect(await open().send()).toMatchObject({ kind: 'retry', retryAfterMs: 17_000 })
  })

  it('that nobody listens at is a failed connection', async () => {
    const { send } = open({ tokenUrl: `http://127.0.0.1:${await closedPort()}` })
    expect(await send()).toMatchObject({
      kind: 'retry',
      reason: { code: 'connection_refused', message: expect.stringContaining('The token endpoint refused') },
    })
  })

  it('that never answers is left when the time of the request is over', async () => {
    issuer.always(hang)
    const { send } = open({}, 60)
    const outcomes = await Promise.all([send(), send()])
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({ kind: 'retry', reason: { code: 'timeout' } })
    expect(receiver.requests).toEqual([])
  })

  it('leaves its time to the request that follows, and no more', async () => {
    receiver.always(hang)
    const { send } = open({}, 150)
    const began = performance.now()
    expect(await send()).toMatchObject({ kind: 'retry', reason: { code: 'timeout' } })
    expect(performance.now() - began).toBeLessThan(2_000)
  })

  it('is not waited for by a send that is told to stop, and still is by the others', async () => {
    const answered = Promise.withResolvers<void>()
    issuer.reply((response) => {
      answered.promise.then(() => response.end('{"access_token":"late","token_type":"bearer"}'))
    })
    receiver.always({ status: 200 })
    const { send } = open()
    const stop = new AbortController()
    const reason = new Error('shutting down')
    const stopped = expect(send(stop.signal)).rejects.toBe(reason)
    const other = send()
    await issuer.received(1)
    stop.abort(reason)
    await stopped
    answered.resolve()
    expect(await other).toEqual({ kind: 'accepted' })
    expect(issuer.requests).toHaveLength(1)
  })

  it('is asked anew when all who waited for it have left', async () => {
    issuer.reply(hang)
    const { send } = open()
    const stop = new AbortController()
    const stopped = expect(send(stop.signal)).rejects.toBe('enough')
    await issuer.received(1)
    stop.abort('enough')
    await stopped
    expect(await send()).toEqual({ kind: 'accepted' })
  })
})
