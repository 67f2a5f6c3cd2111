/** What every provider must do, against a real socket. */
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { destinationTypes } from '../../providers/index.ts'
import {
  type AuditEvent,
  type Configured,
  DestinationConfigError,
  type Outcome,
} from '../../providers/provider.ts'
import { type ClosableHttpClient, createHttpClient } from '../../src/egress/http-client.ts'
import { loopback } from '../support/egress.ts'
import {
  closedPort,
  cutShort,
  destroy,
  drip,
  endless,
  hang,
  malformed,
  type Receiver,
  type Reply,
  redirect,
  startReceiver,
} from '../support/receiver.ts'
import { batchOf, deps, event, type Fixture, framedBytes, hostileEvents, now, plain } from './fixture.ts'

export function conformance(fixture: Fixture): void {
  describe(`${fixture.type}: ${fixture.name}`, () => {
    let receiver: Receiver
    let http: ClosableHttpClient
    let configured: Configured

    beforeEach(async () => {
      receiver = await startReceiver()
      http = createHttpClient({ allow: loopback })
      configured = configure(receiver.url)
    })
    afterEach(async () => {
      await http.close()
      await receiver.close()
    })

    function configure(url: string, changes: Record<string, unknown> = {}): Configured {
      const type = destinationTypes.find((one) => one.type === fixture.type)
      if (type === undefined) throw new Error(`${fixture.type} is not in providers/index.ts`)
      return type.configure({ ...fixture.config(url), ...changes }, plain)
    }

    async function send(
      events: readonly AuditEvent[] = [event(1), event(2)],
      signal = new AbortController().signal,
    ) {
      const sender = configured.open(deps(http))
      try {
        return await sender.send(batchOf(configured, events), signal)
      } finally {
        await sender.close()
      }
    }

    async function sendTo(reply: Reply): Promise<Outcome> {
      receiver.always(reply)
      const outcome = await send()
      expectNoSecret(outcome, fixture)
      return outcome
    }

    describe('delivers', () => {
      it('every event, in order, whatever is in it, and is accepted', async () => {
        receiver.always({ choose: fixture.honest })
        const events = [...hostileEvents, event(4)]
        expect(await send(events)).toEqual({ kind: 'accepted' })
        expect(receiver.requests.flatMap(fixture.eventIds)).toEqual(events.map((one) => one.id))
      })

      it('one event', async () => {
        receiver.always({ choose: fixture.honest })
        expect(await send([event(7)])).toEqual({ kind: 'accepted' })
        expect(receiver.requests.flatMap(fixture.eventIds)).toEqual(['action:7'])
      })

      it('a batch at the limits of its own declaration', async () => {
        receiver.always({ choose: fixture.honest })
        const { limits } = configured
        const overhead = Buffer.byteLength(configured.encode(event(1, { note: '' }), now))
        const largest = event(1, { note: 'x'.repeat(limits.maxEventBytes - overhead) })
        const batch = batchOf(configured, [largest])
        expect(batch.events[0]?.bytes).toBe(limits.maxEventBytes)
        expect(framedBytes(configured, batch)).toBeLessThanOrEqual(limits.maxBytes)
        expect(await send([largest])).toEqual({ kind: 'accepted' })
      })

      it('as many events as it declares', async () => {
        receiver.always({ choose: fixture.honest })
        const events = Array.from({ length: configured.limits.maxEvents }, (_, row) => event(row))
        expect(await send(events)).toEqual({ kind: 'accepted' })
        expect(receiver.requests.flatMap(fixture.eventIds)).toHaveLength(events.length)
      })

      it('exactly the bytes that the limits were counted with', async () => {
        receiver.always({ choose: fixture.honest })
        await send(hostileEvents)
        const bytes = receiver.requests.reduce((sum, request) => sum + request.body.length, 0)
        expect(bytes).toBe(framedBytes(configured, batchOf(configured, hostileEvents)))
      })

      it('the same bytes and the same ids when a batch is sent again', async () => {
        receiver.always({ choose: fixture.honest })
        await send(hostileEvents)
        const half = receiver.requests.length
        await send(hostileEvents)
        const [first, second] = [receiver.requests.slice(0, half), receiver.requests.slice(half)]
        expect(second.map(frozen)).toEqual(first.map(frozen))
      })
    })

    describe('reads the answer', () => {
      it.each([400, 404, 405, 413, 422, 501])('%i as rejected', async (status) => {
        const outcome = await sendTo({ status, body: `secret ${fixture.secrets[0]}` })
        expect(outcome).toMatchObject({ kind: 'rejected', reason: { code: 'http_status', status } })
      })

      it.each([408, 429, 500, 502, 503, 504])('%i as retry', async (status) => {
        const outcome = await sendTo({ status })
        expect(outcome).toMatchObject({ kind: 'retry', reason: { code: 'http_status', status } })
      })

      it.each([401, 403])('%i as unauthorized', async (status) => {
        expect(await sendTo({ status })).toMatchObject({ kind: 'unauthorized', reason: { status } })
      })

      it('410 as gone', async () => {
        expect(await sendTo({ status: 410 })).toMatchObject({ kind: 'gone', reason: { status: 410 } })
      })

      it('Retry-After in seconds', async () => {
        const outcome = await sendTo({ status: 429, headers: { 'retry-after': '17' } })
        expect(outcome).toMatchObject({ kind: 'retry', retryAfterMs: 17_000 })
      })

      it('Retry-After as a date', async () => {
        const date = new Date(now + 90_000).toUTCString()
        const outcome = await sendTo({ status: 503, headers: { 'retry-after': date } })
        expect(outcome).toMatchObject({ kind: 'retry', retryAfterMs: 90_000 })
      })

      it.each([301, 302, 307, 308])('%i as a failure, and calls nobody else', async (status) => {
        const target = await startReceiver()
        try {
          const outcome = await sendTo(redirect(`${target.url}/elsewhere`, status))
          expect(outcome).toMatchObject({ kind: 'retry', reason: { code: 'redirect', status } })
          expect(target.requests).toEqual([])
          expect(receiver.requests).toHaveLength(1)
        } finally {
          await target.close()
        }
      })

      it.each(fixture.falseYes)('a yes that is none as $kind', async ({ reply, kind }) => {
        expect((await sendTo(reply)).kind).toBe(kind)
      })
    })

    describe('survives', () => {
      it('a receiver that never answers', async () => {
        configured = configure(receiver.url, { timeoutMs: 50 })
        expect(await sendTo(hang)).toMatchObject({ kind: 'retry', reason: { code: 'timeout' } })
      })

      it('a receiver that drips', async () => {
        configured = configure(receiver.url, { timeoutMs: 100 })
        expect(await sendTo(drip(5))).toMatchObject({ kind: 'retry', reason: { code: 'timeout' } })
      })

      it('a receiver that is not there', async () => {
        configured = configure(`http://127.0.0.1:${await closedPort()}`)
        expect(await send()).toMatchObject({ kind: 'retry', reason: { code: 'connection_refused' } })
      })

      it('a connection that breaks before the answer', async () => {
        expect(await sendTo(destroy)).toMatchObject({ kind: 'retry', reason: { code: 'connection_reset' } })
      })

      it('a connection that breaks within the answer', async () => {
        expect(await sendTo(cutShort)).toMatchObject({ kind: 'retry' })
      })

      it('an answer that is not HTTP', async () => {
        expect(await sendTo(malformed())).toMatchObject({ kind: 'retry', reason: { code: 'network' } })
      })

      it('an answer without end', async () => {
        const closed = Promise.withResolvers<number>()
        const outcome = await sendTo(endless(closed.resolve))
        expect(['accepted', 'retry']).toContain(outcome.kind)
        await closed.promise
      })
    })

    describe('when it is told to stop', () => {
      it("rejects with the signal's reason", async () => {
        receiver.always(hang)
        const controller = new AbortController()
        const reason = new Error('shutting down')
        const sending = send([event(1)], controller.signal)
        const rejected = expect(sending).rejects.toBe(reason)
        await receiver.received(1)
        controller.abort(reason)
        await rejected
      })

      it('sends nothing if it was told before', async () => {
        const reason = new Error('shutting down')
        await expect(send([event(1)], AbortSignal.abort(reason))).rejects.toBe(reason)
        expect(receiver.requests).toEqual([])
      })
    })

    describe('its config', () => {
      it('names a field that it does not know, and a close one that it does', () => {
        const error = configError(() => configure(receiver.url, { timeoutms: 50, favouriteColour: 'red' }))
        expect(error.fields.map(({ field }) => field)).toEqual(['config.timeoutms', 'config.favouriteColour'])
        expect(error.fields[0]?.problem).toContain('did you mean timeoutMs?')
        expectNoSecret(error, fixture)
      })

      it.each([null, undefined, 'text', 7, true, []])('is refused as %j', (raw) => {
        const type = destinationTypes.find((one) => one.type === fixture.type)
        const error = configError(() => type?.configure(raw, plain))
        expect(error.fields).toEqual([{ field: 'config', problem: expect.stringContaining('JSON object') }])
      })
    })
  })
}

/** What must be the same in every attempt. */
function frozen({ rawBody, headers }: Receiver['requests'][number]) {
  return { body: rawBody.toString('base64'), id: headers['webhook-id'], key: headers['idempotency-key'] }
}

function configError(configure: () => unknown): DestinationConfigError {
  try {
    configure()
  } catch (error) {
    if (error instanceof DestinationConfigError) return error
    throw error
  }
  throw new Error('the config was accepted')
}

/** I8, in every way in which an outcome or an error can reach a log. */
function expectNoSecret(subject: Outcome | Error, { secrets }: Fixture): void {
  const message = subject instanceof Error ? `${subject.message}${subject.stack}` : ''
  const shown = inspect(subject, { depth: null, showHidden: true }) + JSON.stringify(subject) + message
  for (const secret of secrets) expect(shown).not.toContain(secret)
}
