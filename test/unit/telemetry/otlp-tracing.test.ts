import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { HttpFailure } from '../../../providers/provider.ts'
import { LeaseLostError } from '../../../src/errors.ts'
import { createLog } from '../../../src/telemetry/log.ts'
import { openOtlpTracing } from '../../../src/telemetry/otlp-tracing.ts'
import type { Tracing } from '../../../src/telemetry/tracing.ts'
import { sentSpans } from '../../support/otlp.ts'
import { closedPort, destroy, hang, type Receiver, startReceiver } from '../../support/receiver.ts'

describe('spans to a collector', () => {
  let collector: Receiver
  let output: PassThrough
  let tracing: Tracing

  const open = (url: string, ratio = 1) => {
    output = new PassThrough()
    tracing = openOtlpTracing({ url, ratio }, '1.2.3', createLog({ level: 'info', stream: output }))
  }
  const lines = () => String(output.read() ?? '')

  beforeEach(async () => {
    collector = await startReceiver()
    open(`${collector.url}/v1/traces`)
  })
  afterEach(async () => {
    vi.unstubAllEnvs()
    await tracing.stop()
    await collector.close()
  })

  it('lie under the one that is open where they begin, also beside each other', async () => {
    const child = (name: string) =>
      tracing.span(name, 'client', {}, async ({ headers }) => headers.traceparent)
    const carried = await tracing.span('a', 'producer', { n: 1, b: true }, () =>
      Promise.all([child('a1'), child('a2')]),
    )
    await child('b')
    await tracing.stop()
    const spans = sentSpans(collector.requests)
    const of = (name: string) => spans.find((span) => span.name === name)
    expect(of('a')).toMatchObject({ kind: 4, parentSpanId: '', attributes: { n: 1, b: true } })
    expect(of('a')?.resource).toMatchObject({ 'service.name': 'spillway', 'service.version': '1.2.3' })
    for (const [index, name] of ['a1', 'a2'].entries()) {
      expect(of(name)).toMatchObject({ traceId: of('a')?.traceId, parentSpanId: of('a')?.spanId })
      expect(carried[index]).toBe(`00-${of('a')?.traceId}-${of(name)?.spanId}-01`)
    }
    expect(of('b')?.parentSpanId).toBe('')
    expect(of('b')?.traceId).not.toBe(of('a')?.traceId)
  })

  it('say what was thrown by its code or class, and never by its words', async () => {
    const coded = Object.assign(new Error('secret'), { code: 'ECONNRESET' })
    for (const error of [coded, new TypeError('secret'), 'secret']) {
      await expect(tracing.span('a', 'client', {}, () => Promise.reject(error))).rejects.toBe(error)
    }
    await tracing.stop()
    const spans = sentSpans(collector.requests)
    expect(spans.map(({ attributes }) => attributes['error.type'])).toEqual([
      'ECONNRESET',
      'TypeError',
      'unknown',
    ])
    expect(spans.map(({ status }) => status)).toEqual([2, 2, 2])
    expect(String(collector.requests.map(({ body }) => body))).not.toContain('secret')
  })

  it('of what was broken off have not failed', async () => {
    for (const error of [
      AbortSignal.abort().reason,
      new LeaseLostError('shard 3'),
      new HttpFailure('aborted', 'closed'),
    ]) {
      await expect(tracing.span('a', 'client', {}, () => Promise.reject(error))).rejects.toBe(error)
    }
    await tracing.stop()
    const spans = sentSpans(collector.requests)
    expect(spans.map(({ attributes }) => attributes)).toEqual(Array(3).fill({ 'spillway.aborted': true }))
    expect(spans.map(({ status }) => status)).toEqual([0, 0, 0])
  })

  it('hold attributes of bounded length', async () => {
    await tracing.span('a', 'client', { long: 'x'.repeat(10_000) }, async () => {})
    await tracing.stop()
    expect(sentSpans(collector.requests)[0]?.attributes.long).toBe('x'.repeat(200))
  })

  it('of traces that are not sampled are not sent, and tell the receiver so', async () => {
    open(`${collector.url}/v1/traces`, 0)
    const header = await tracing.span('a', 'client', {}, async ({ headers }) => headers.traceparent)
    await tracing.stop()
    expect(header).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
    expect(collector.requests).toEqual([])
  })

  it('wait in a queue of fixed length while the collector hangs, and a stop does not wait for them', async () => {
    collector.always(hang)
    for (let n = 0; n < 5_000; n += 1) await tracing.span('a', 'client', {}, async () => {})
    const began = performance.now()
    await tracing.stop()
    expect(performance.now() - began).toBeLessThan(2_000)
    const sent = sentSpans(collector.requests).length
    expect(sent).toBeGreaterThan(0)
    expect(sent).toBeLessThanOrEqual(512 + 2_048)
  })

  it.each([
    ['refuses', { status: 403, body: 'secret' }, { code: 'http_status', status: 403 }],
    ['is ill', { status: 503, body: 'secret' }, { code: 'http_status' }],
    ['hangs', hang, { code: 'timeout' }],
    ['breaks off', destroy, { code: 'ECONNRESET' }],
  ] as const)(
    'that do not get away, because the collector %s, are told of by a code',
    async (_, reply, expected) => {
      vi.stubEnv('OTEL_EXPORTER_OTLP_TIMEOUT', '100')
      collector.always(reply)
      open(`${collector.url.replace('//', '//user:secret@')}/secret`)
      await tracing.span('a', 'client', {}, async () => {})
      await tracing.stop()
      const said = lines()
      expect(JSON.parse(said)).toMatchObject({ event: 'tracing.error', level: 'warn', lost: 1, ...expected })
      expect(said).not.toContain('secret')
    },
  )

  it('that find nobody at the address are told of too', async () => {
    vi.stubEnv('OTEL_EXPORTER_OTLP_TIMEOUT', '100')
    open(`http://127.0.0.1:${await closedPort()}/`)
    await tracing.span('a', 'client', {}, async () => {})
    await tracing.stop()
    expect(JSON.parse(lines())).toMatchObject({ event: 'tracing.error', code: 'ECONNREFUSED' })
  })
})
