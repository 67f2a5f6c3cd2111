import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { compress, exchange, frame } from '../../../providers/exchange.ts'
import { type HttpClient, HttpFailure, type HttpRequest } from '../../../providers/provider.ts'

const request: HttpRequest = {
  method: 'POST',
  url: new URL('https://example.com'),
  headers: {},
  timeoutMs: 1,
}
const never = new AbortController().signal

function failing(error: unknown): HttpClient {
  return { request: () => Promise.reject(error) }
}

function run(http: HttpClient, signal = never) {
  return exchange(http, request, signal, () => ({ kind: 'accepted' }))
}

describe('an exchange', () => {
  it('turns a failure into a retry', async () => {
    const outcome = await run(failing(new HttpFailure('dns', 'no such host')))
    expect(outcome).toEqual({ kind: 'retry', reason: { code: 'dns', message: 'no such host' } })
  })

  it('throws when the client was closed under it', async () => {
    const closed = new HttpFailure('aborted', 'closed')
    await expect(run(failing(closed))).rejects.toBe(closed)
  })

  it('throws what it does not know', async () => {
    const bug = new TypeError('a bug')
    await expect(run(failing(bug))).rejects.toBe(bug)
  })

  it("throws the signal's reason, even if the request failed in the same moment", async () => {
    const controller = new AbortController()
    const http: HttpClient = {
      async request() {
        controller.abort('stop')
        throw new HttpFailure('connection_reset', 'broken')
      },
    }
    await expect(run(http, controller.signal)).rejects.toBe('stop')
  })
})

describe('a body', () => {
  const eventsOf = (texts: readonly string[]) =>
    texts.map((text, index) => {
      const body = Buffer.from(text)
      return { id: `action:${index}`, body, bytes: body.length }
    })
  const events = eventsOf(['{"a":1}', '{"b":2}'])
  const batch = { id: 'b', logType: 'action', events, eventBatchId: String }

  it('is put together from its framing', () => {
    const body = frame(batch, { prefix: '[', separator: ',', suffix: ']', gzip: false })
    expect(Buffer.from(body).toString()).toBe('[{"a":1},{"b":2}]')
  })

  it('has the bytes that its events were counted by', () => {
    const texts = ['"é"', '"\u{1f600}"', '"\ud800"', '""']
    const body = frame(
      { ...batch, events: eventsOf(texts) },
      { prefix: 'ä', separator: '€', suffix: '', gzip: false },
    )
    expect(Buffer.from(body)).toEqual(Buffer.from(`ä${texts.join('€')}`))
  })

  it.each([6, 8])('does not leave where an event of 7 bytes says that it has %i', (bytes) => {
    const events = batch.events.map((event) => ({ ...event, bytes }))
    const framing = { prefix: '[', separator: ',', suffix: ']', gzip: false }
    expect(() => frame({ ...batch, events }, framing)).toThrow(RangeError)
  })

  it('is compressed to the same bytes every time, with nothing of the machine in the header', async () => {
    const text = '{"a":1}'.repeat(10_000)
    const [first, second] = await Promise.all([compress(text), compress(text)])
    expect(first).toEqual(second)
    // RFC 1952: magic, deflate, no flags, no time, (extra flags), operating system unknown.
    expect([...first.subarray(0, 8), first[9]]).toEqual([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 255])
    expect(gunzipSync(first).toString()).toBe(text)
  })
})
