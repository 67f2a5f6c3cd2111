/** Tracing as an operator turns it on: by OpenTelemetry's variables, with a collector that tests can read. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Webhook } from 'standardwebhooks'
import { expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { type SentSpan, sentSpans } from '../support/otlp.ts'
import { whenDone } from '../support/postgres.ts'
import { hang, startReceiver } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'

const planted = 'pl4nted'

async function createTracedScene() {
  const scene = await createScene()
  const collector = await startReceiver()
  whenDone(() => collector.close())
  return { ...scene, collector, traced: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url } }
}

const children = (spans: readonly SentSpan[], parent: SentSpan) =>
  spans.filter(({ parentSpanId }) => parentSpanId === parent.spanId)

it('sends spans of deliveries, whose requests carry them, and nothing that is secret or the customer’s', async () => {
  const { url, sql, receiver, write, collector, traced } = await createTracedScene()
  const secret = `whsec_${Buffer.alloc(32, 5).toString('base64')}`
  receiver.reply({ status: 503, body: planted })
  const daemon = await startDaemon(url, {
    ...traced,
    OTEL_SERVICE_NAME: 'audit-forwarder',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
    OTEL_EXPORTER_OTLP_HEADERS: `api-key=${planted}`,
  })
  const id = await insertDestination(sql, {
    url: receiver.url,
    name: `name-${planted}`,
    org: `org-${planted}`,
    config: {
      url: `${receiver.url}/${planted}?token=${planted}`,
      headers: { 'x-key': planted },
      auth: { type: 'bearer', token: planted },
      signing: { secrets: [secret] },
    },
  })
  await write(3, `org-${planted}`)
  await settled(sql, id, `org-${planted}`)
  expect(await daemon.stop()).toBe(0)

  const spans = sentSpans(collector.requests)
  expect(collector.requests[0]).toMatchObject({ path: '/v1/traces', headers: { 'api-key': planted } })
  const [first, second] = receiver.requests
  const [deliver] = spans.filter(({ name }) => name === 'spillway.deliver')
  if (!first || !second || !deliver) throw new Error('no delivery was traced')
  expect(deliver).toMatchObject({
    kind: 4,
    parentSpanId: '',
    status: 0,
    attributes: {
      'spillway.destination.id': id,
      'spillway.destination.type': 'http',
      'spillway.log_type': 'request',
      'spillway.batch.id': first.headers['webhook-id'],
      'spillway.batch.bytes': first.body.length,
      'messaging.batch.message_count': 3,
      'spillway.outcome': 'accepted',
    },
    resource: { 'service.name': 'audit-forwarder', 'deployment.environment.name': 'test' },
  })
  // A quick retry is another request of the same attempt, and the same batch to the byte.
  const [refused, accepted] = children(spans, deliver)
  expect(refused).toMatchObject({
    name: 'POST',
    kind: 3,
    traceId: deliver.traceId,
    status: 2,
    statusMessage: '',
    attributes: {
      'http.request.method': 'POST',
      'server.address': '127.0.0.1',
      'server.port': receiver.port,
      'url.scheme': 'http',
      'http.response.status_code': 503,
      'error.type': '503',
    },
  })
  expect(accepted).toMatchObject({ status: 0, attributes: { 'http.response.status_code': 200 } })
  expect([first, second].map(({ headers }) => headers.traceparent)).toEqual(
    [refused, accepted].map((span) => `00-${deliver.traceId}-${span?.spanId}-01`),
  )
  expect(second.rawBody).toEqual(first.rawBody)
  expect(second.headers['webhook-id']).toBe(first.headers['webhook-id'])
  expect(() => new Webhook(secret).verify(second.body, { ...second.headers })).not.toThrow()
  expect(new Set(spans.map(({ name }) => name))).toEqual(
    new Set(['spillway.deliver', 'POST', 'spillway.read_page', 'spillway.write_cursor']),
  )
  // The search finds it where it is.
  expect(first.rawHeaders.join()).toContain(planted)
  expect(collector.requests.map(({ body }) => body.toString('latin1')).join()).not.toContain(planted)
  expect(JSON.stringify(daemon.lines.filter(({ event }) => event.startsWith('tracing.')))).toBe('[]')
})

it('sends no header and loads nothing of OpenTelemetry unless it is turned on', async () => {
  const { url, sql, receiver, write, collector, traced } = await createTracedScene()
  const id = await insertDestination(sql, { url: receiver.url })
  const loaded = async (env: Readonly<Record<string, string>>) => {
    const folder = await mkdtemp(join(tmpdir(), 'spillway-loaded-'))
    whenDone(() => rm(folder, { recursive: true }))
    const daemon = await startDaemon(url, { ...env, NODE_V8_COVERAGE: folder })
    await write(1)
    await settled(sql, id, null)
    expect(await daemon.stop()).toBe(0)
    const files = await readdir(folder)
    const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')))
    expect(texts.join()).toContain('/src/delivery/drain.ts')
    // The metrics' library brings the interface alone.
    return /@opentelemetry\/(?!api\/)/.test(texts.join())
  }
  expect(await loaded({})).toBe(false)
  expect(await loaded({ ...traced, OTEL_SDK_DISABLED: 'true' })).toBe(false)
  expect(receiver.requests.map(({ headers }) => headers.traceparent)).toEqual([undefined, undefined])
  expect(collector.requests).toEqual([])
  expect(await loaded(traced)).toBe(true)
})

it('delivers and stops as ever while the collector hangs', async () => {
  const { url, sql, receiver, write, collector, traced } = await createTracedScene()
  collector.always(hang)
  const daemon = await startDaemon(url, { ...traced, OTEL_EXPORTER_OTLP_TIMEOUT: '60000' })
  const id = await insertDestination(sql, {
    url: receiver.url,
    delivery: { batchSize: 5, interBatchDelayMs: 0 },
  })
  await write(50)
  await collector.received(1)
  await write(50)
  await settled(sql, id, null)
  const began = performance.now()
  expect(await daemon.stop()).toBe(0)
  expect(performance.now() - began).toBeLessThan(5_000)
  expect(await account(sql, receiver.requests, null)).toMatchObject({ ...nothingWrong, repeatedBatches: 0 })
})

it('says that a collector fails, once, and that it is well again', async () => {
  const { url, sql, receiver, write, collector, traced } = await createTracedScene()
  collector.always({ status: 500, body: planted })
  const daemon = await startDaemon(url, {
    ...traced,
    OTEL_EXPORTER_OTLP_ENDPOINT: traced.OTEL_EXPORTER_OTLP_ENDPOINT.replace('//', `//user:${planted}@`),
  })
  const id = await insertDestination(sql, { url: receiver.url })
  await write(1)
  expect(await daemon.logged('tracing.error')).toMatchObject({
    level: 'warn',
    code: 'http_status',
    status: 500,
    suppressed: 0,
  })
  await write(1)
  await collector.received(2)
  collector.always({ status: 200 })
  await write(1)
  const recovered = await daemon.logged('tracing.recovered')
  expect(recovered.lost).toBeGreaterThanOrEqual(sentSpans(collector.requests.slice(0, 2)).length)
  await settled(sql, id, null)
  expect(await daemon.stop()).toBe(0)
  expect(daemon.lines.filter(({ event }) => event === 'tracing.error')).toHaveLength(1)
  expect(JSON.stringify(daemon.lines) + daemon.stderr).not.toContain(planted)
})
