// Not the package's index: its thousands of models would be read by every run of the tests and of the type check.
import { createConfiguration } from '@datadog/datadog-api-client/dist/packages/datadog-api-client-common/configuration.js'
import { ServerConfiguration } from '@datadog/datadog-api-client/dist/packages/datadog-api-client-common/servers.js'
import { LogsApi } from '@datadog/datadog-api-client/dist/packages/datadog-api-client-v2/apis/LogsApi.js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { datadog } from '../../providers/datadog/index.ts'
import { destinationType } from '../../providers/provider.ts'
import { createHttpClient } from '../../src/egress/http-client.ts'
import { loopback } from '../support/egress.ts'
import { type DatadogIntake, datadogIntake } from '../support/fakes/datadog.ts'
import { type Receiver, startReceiver } from '../support/receiver.ts'
import { batchOf, deps, event, hostileEvents, now, plain } from './fixture.ts'
import { conformance } from './suite.ts'

const apiKey = '0f4bd2f0c1a94c1d9e3a5b7c8d6e1f20'

describe('the fake intake', () => {
  let receiver: Receiver
  let intake: DatadogIntake

  beforeEach(async () => {
    receiver = await startReceiver()
    intake = datadogIntake(apiKey)
    receiver.always({ choose: intake.answer })
  })
  afterEach(() => receiver.close())

  /** The vendor's own client, pointed at the fake. */
  function vendorClient(key: string): LogsApi {
    const configuration = createConfiguration({ authMethods: { apiKeyAuth: key } })
    configuration.setServerVariables({})
    const server = new ServerConfiguration(receiver.url, {})
    configuration.operationServers['v2.LogsApi.submitLog'] = [server]
    return new LogsApi(configuration)
  }

  const logs = [
    { message: 'one', ddsource: 'spillway', ddtags: 'env:prod,team:core', hostname: 'h', service: 's' },
    { message: 'two', additionalProperties: { org_id: 'acme' } },
  ]

  it("takes what the vendor's client sends", async () => {
    await vendorClient(apiKey).submitLog({ body: logs })
    expect(intake.logs).toMatchObject([
      { message: 'one', ddtags: 'env:prod,team:core' },
      { message: 'two', org_id: 'acme' },
    ])
  })

  it("takes what the vendor's client compresses", async () => {
    await vendorClient(apiKey).submitLog({ body: logs, contentEncoding: 'gzip' })
    expect(receiver.requests[0]?.headers['content-encoding']).toBe('gzip')
    expect(intake.logs).toHaveLength(2)
  })

  it("refuses the vendor's client with a wrong key", async () => {
    await expect(vendorClient('wrong').submitLog({ body: logs })).rejects.toMatchObject({ code: 403 })
    expect(intake.logs).toEqual([])
  })

  it.each([
    { what: 'too many logs', body: Array.from({ length: 1_001 }, () => ({ message: 'x' })), code: 413 },
    {
      what: 'too many bytes',
      body: Array.from({ length: 6 }, () => ({ message: 'x'.repeat(900_000) })),
      code: 413,
    },
    { what: 'a log without a message', body: [{ message: '' }], code: 400 },
  ])("refuses $what from the vendor's client", async ({ body, code }) => {
    await expect(vendorClient(apiKey).submitLog({ body })).rejects.toMatchObject({ code })
  })

  it('truncates a log over 1 MB with a yes, as the real one does', async () => {
    await vendorClient(apiKey).submitLog({ body: [{ message: 'x'.repeat(1_000_001) }] })
    expect(intake.truncated).toBe(1)
  })

  it('drops what is too old or too far ahead with a yes, as the real one does', async () => {
    const hour = 3_600_000
    const ages = [18 * hour + 60_000, 18 * hour - 60_000, 0, -2 * hour + 60_000, -2 * hour - 60_000]
    const dates = ages.map((age) => Date.now() - age)
    const body = [
      ...dates.map((timestamp) => ({ message: 'ms', additionalProperties: { timestamp } })),
      ...dates.map((at) => ({
        message: 'iso',
        additionalProperties: { timestamp: new Date(at).toISOString() },
      })),
    ]
    await vendorClient(apiKey).submitLog({ body: body as Parameters<LogsApi['submitLog']>[0]['body'] })
    expect(intake.dropped).toBe(4)
    expect(intake.logs.map(({ timestamp }) => timestamp)).toEqual([
      ...dates.slice(1, 4),
      ...dates.slice(1, 4).map((at) => new Date(at).toISOString()),
    ])
  })
})

conformance({
  name: 'the log intake',
  type: 'datadog',
  config: (url) => ({ apiKey, endpoint: url, service: 'console', tags: { env: 'prod' }, hostname: 'web-1' }),
  secrets: [apiKey],
  honest(request) {
    const intake = datadogIntake(apiKey, () => now)
    const answer = intake.answer(request)
    expect(intake).toMatchObject({ truncated: 0, dropped: 0 })
    return answer
  },
  eventIds: (request) => JSON.parse(request.body.toString()).map((log: { id: string }) => log.id),
  falseYes: [200, 204, 260].map((status) => ({
    reply: { status, body: '<html>Log in</html>' },
    kind: 'retry',
  })),
})

describe('datadog: what arrives', () => {
  async function arrive(config: Record<string, unknown>) {
    const receiver = await startReceiver()
    const http = createHttpClient({ allow: loopback })
    const intake = datadogIntake(apiKey, () => now)
    receiver.always({ choose: intake.answer })
    try {
      const configured = destinationType(datadog).configure(
        { apiKey, endpoint: receiver.url, ...config },
        plain,
      )
      const batch = batchOf(configured, [event(4), ...hostileEvents])
      await configured.open(deps(http)).send(batch, new AbortController().signal)
      return { logs: intake.logs, requests: receiver.requests }
    } finally {
      await http.close()
      await receiver.close()
    }
  }

  it('is a log with the envelope as its attributes', async () => {
    const { logs, requests } = await arrive({ service: 'console', tags: ['env:prod', 'team:core'] })
    expect(requests[0]?.path).toBe('/api/v2/logs')
    expect(logs[0]).toEqual({
      message: 'action:4 actor=alice action=user.login',
      ddsource: 'spillway',
      ddtags: 'env:prod,team:core',
      service: 'console',
      timestamp: now - 1_877,
      id: 'action:4',
      event: 'action',
      org_id: 'acme',
      data: { id: 4, actor: 'alice', action: 'user.login' },
    })
    expect(logs).toHaveLength(4)
  })

  it('comes through a proxy that is named with or without the path', async () => {
    for (const suffix of ['', '/', '/api/v2/logs', '/api/v2/logs/']) {
      const receiver = await startReceiver()
      const http = createHttpClient({ allow: loopback })
      const config = { apiKey, endpoint: `${receiver.url}/dd${suffix}` }
      const configured = destinationType(datadog).configure(config, plain)
      await configured.open(deps(http)).send(batchOf(configured, [event(1)]), new AbortController().signal)
      expect(receiver.requests[0]?.path).toBe('/dd/api/v2/logs')
      await http.close()
      await receiver.close()
    }
  })
})
