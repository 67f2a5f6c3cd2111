import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Config, parseConfig } from '../../src/config.ts'
import { ConfigError } from '../../src/errors.ts'

const key = Buffer.alloc(32, 7).toString('base64')

function problemsOf(env: NodeJS.ProcessEnv): Record<string, string> {
  try {
    parseConfig(env)
  } catch (error) {
    if (error instanceof ConfigError) {
      return Object.fromEntries(error.fields.map(({ field, problem }) => [field, problem]))
    }
    throw error
  }
  return {}
}

describe('parseConfig', () => {
  test('has the documented defaults, with the embedded database in development', () => {
    expect(parseConfig({})).toEqual({
      production: false,
      databaseUrl: undefined,
      sourceDatabaseUrl: undefined,
      pollIntervalMs: 1_000,
      batchSize: 250,
      maxCatchupBatches: 20,
      interBatchDelayMs: 100,
      backoffScheduleMs: [60_000, 120_000, 300_000, 600_000, 1_800_000],
      maxBacklogAgeMs: 86_400_000,
      requestTimeoutMs: 30_000,
      egressAllow: { cidrs: [], hosts: [] },
      egressProxy: undefined,
      secretKeys: [],
      secretVariables: new Map(),
      httpHost: '127.0.0.1',
      httpPort: 8787,
      apiToken: undefined,
      ticketSecret: undefined,
      leaseMs: 15_000,
      tracing: undefined,
      logLevel: 'info',
      metricsPerDestination: false,
    } satisfies Config)
  })

  test('reads every variable', () => {
    const config = parseConfig({
      NODE_ENV: 'production',
      DATABASE_URL: 'postgres://a:b@db/one',
      SPILLWAY_SOURCE_DATABASE_URL: 'postgresql://a:b@replica-1:5432,replica-2:5432/two?sslmode=require',
      SPILLWAY_POLL_INTERVAL_MS: '200',
      SPILLWAY_BATCH_SIZE: '10',
      SPILLWAY_MAX_CATCHUP_BATCHES: '3',
      SPILLWAY_INTER_BATCH_DELAY_MS: '0',
      SPILLWAY_BACKOFF_SCHEDULE_MS: '5, 10,20',
      SPILLWAY_MAX_BACKLOG_AGE_MS: '3600000',
      SPILLWAY_REQUEST_TIMEOUT_MS: '500',
      SPILLWAY_EGRESS_ALLOW: '10.0.0.0/8, 192.168.1.7 ,fd00::/8,Collector.internal',
      SPILLWAY_EGRESS_PROXY: 'https://spill:p%40ss@proxy.internal',
      SPILLWAY_SECRET_KEYS: `new:${key},old:${key}`,
      SPILLWAY_SECRET_SIEM_TOKEN: ' abc\n',
      SPILLWAY_SECRET_UNSET: '',
      SPILLWAY_HTTP_HOST: '::',
      SPILLWAY_HTTP_PORT: '0',
      SPILLWAY_API_TOKEN: 'token',
      SPILLWAY_TICKET_SECRET: 'secret',
      SPILLWAY_LEASE_MS: '5000',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'https://spans.internal/base/',
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.25',
      LOG_LEVEL: 'DEBUG',
      SPILLWAY_METRICS_PER_DESTINATION: 'True',
    })
    expect(config).toEqual({
      production: true,
      databaseUrl: 'postgres://a:b@db/one',
      sourceDatabaseUrl: 'postgresql://a:b@replica-1:5432,replica-2:5432/two?sslmode=require',
      pollIntervalMs: 200,
      batchSize: 10,
      maxCatchupBatches: 3,
      interBatchDelayMs: 0,
      backoffScheduleMs: [5, 10, 20],
      maxBacklogAgeMs: 3_600_000,
      requestTimeoutMs: 500,
      egressAllow: {
        cidrs: [
          { address: '10.0.0.0', prefix: 8, family: 'ipv4' },
          { address: '192.168.1.7', prefix: 32, family: 'ipv4' },
          { address: 'fd00::', prefix: 8, family: 'ipv6' },
        ],
        hosts: ['collector.internal'],
      },
      egressProxy: {
        secure: true,
        host: 'proxy.internal',
        port: 443,
        authorization: `Basic ${Buffer.from('spill:p@ss').toString('base64')}`,
      },
      secretKeys: [
        { id: 'new', key: new Uint8Array(32).fill(7) },
        { id: 'old', key: new Uint8Array(32).fill(7) },
      ],
      secretVariables: new Map([['SIEM_TOKEN', ' abc\n']]),
      httpHost: '::',
      httpPort: 0,
      apiToken: 'token',
      ticketSecret: 'secret',
      leaseMs: 5_000,
      tracing: { url: 'https://spans.internal/base/v1/traces', ratio: 0.25 },
      logLevel: 'debug',
      metricsPerDestination: true,
    } satisfies Config)
  })

  test('is frozen all the way down', () => {
    const config = parseConfig({ SPILLWAY_EGRESS_ALLOW: '10.0.0.0/8' })
    for (const part of [
      config,
      config.backoffScheduleMs,
      config.egressAllow.cidrs,
      config.egressAllow.cidrs[0],
    ]) {
      expect(Object.isFrozen(part)).toBe(true)
    }
  })

  test('names everything that is wrong in one error', () => {
    const problems = problemsOf({
      NODE_ENV: 'production',
      SPILLWAY_BATCH_SIZE: '0',
      SPILLWAY_HTTP_PORT: '65536',
      SPILLWAY_BATHC_SIZE: '5',
      LOG_LEVEL: 'loud',
      SPILLWAY_METRICS_PER_DESTINATION: 'yes',
    })
    expect(Object.keys(problems).sort()).toEqual(
      [
        'DATABASE_URL',
        'LOG_LEVEL',
        'SPILLWAY_BATCH_SIZE',
        'SPILLWAY_BATHC_SIZE',
        'SPILLWAY_HTTP_PORT',
        'SPILLWAY_METRICS_PER_DESTINATION',
      ].sort(),
    )
    expect(problems.SPILLWAY_BATHC_SIZE).toContain('did you mean SPILLWAY_BATCH_SIZE?')
  })

  test.each(['1e3', '1.5', '-1', '+1', '0x10', '1_000', '1 000', 'NaN', '٣', '99999999999999999999'])(
    'refuses %j as a whole number',
    (raw) => {
      expect(problemsOf({ SPILLWAY_POLL_INTERVAL_MS: raw })).toHaveProperty('SPILLWAY_POLL_INTERVAL_MS')
    },
  )

  test('takes every whole number within the bounds and no other', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 200_000 }), (port) => {
        const refused = 'SPILLWAY_HTTP_PORT' in problemsOf({ SPILLWAY_HTTP_PORT: String(port) })
        expect(refused).toBe(port > 65_535)
      }),
      { seed: 1 },
    )
  })

  test.each([
    ['SPILLWAY_BACKOFF_SCHEDULE_MS', '1000,,2000'],
    ['SPILLWAY_BACKOFF_SCHEDULE_MS', '1000,0'],
    ['SPILLWAY_EGRESS_ALLOW', '10.0.0.0/33'],
    ['SPILLWAY_EGRESS_ALLOW', '10.0.0/8'],
    ['SPILLWAY_EGRESS_ALLOW', 'fd00::/129'],
    ['SPILLWAY_EGRESS_ALLOW', 'https://collector.internal'],
    ['SPILLWAY_EGRESS_ALLOW', '300.1.2.3'],
    ['SPILLWAY_SECRET_KEYS', `${key}`],
    ['SPILLWAY_SECRET_KEYS', `a:${Buffer.alloc(16).toString('base64')}`],
    ['SPILLWAY_SECRET_KEYS', `a:${key},a:${key}`],
    ['SPILLWAY_HTTP_HOST', '127.0.0.1:8787'],
    ['DATABASE_URL', 'mysql://a@b/c'],
    ['DATABASE_URL', 'postgres://a:b@[c/d'],
  ])('refuses %s=%s', (name, value) => {
    expect(Object.keys(problemsOf({ [name]: value }))).toEqual([name])
  })

  test.each([
    ['http://10.0.0.7:3128', { secure: false, host: '10.0.0.7', port: 3128 }],
    ['http://proxy', { secure: false, host: 'proxy', port: 80 }],
    ['https://[fd00::1]/', { secure: true, host: 'fd00::1', port: 443 }],
    ['http://user@proxy', { secure: false, host: 'proxy', port: 80, authorization: 'Basic dXNlcjo=' }],
  ])('takes %s for a proxy', (raw, expected) => {
    expect(parseConfig({ SPILLWAY_EGRESS_PROXY: raw }).egressProxy).toEqual(expected)
  })

  test.each([
    'proxy:3128',
    'socks5://u:s3cret@proxy',
    'http://u:s3cret@proxy/path',
    'http://u:s3cret@proxy?a',
    'http://u:s3cret%@proxy',
    'http://u:s3cret%0d%0ax:y@proxy',
    'http://u:s3cret@[proxy',
  ])('refuses %s for a proxy, without its password', (raw) => {
    const problems = problemsOf({ SPILLWAY_EGRESS_PROXY: raw })
    expect(Object.keys(problems)).toEqual(['SPILLWAY_EGRESS_PROXY'])
    expect(JSON.stringify(problems)).not.toContain('s3cret')
  })

  test('takes an empty value as none', () => {
    expect(parseConfig({ DATABASE_URL: '', SPILLWAY_API_TOKEN: ' ', LOG_LEVEL: '' })).toEqual(parseConfig({}))
  })

  test('leaves the names of secrets and tests to others, but not a mistyped one', () => {
    expect(problemsOf({ SPILLWAY_SECRET_DATADOG: 'x', SPILLWAY_TEST_THING: 'x', SPILLWAY: 'x' })).toEqual({})
    expect(problemsOf({ SPILLWAY_SECRET_KEY: 'x' })).toEqual({
      SPILLWAY_SECRET_KEY: expect.stringContaining('SPILLWAY_SECRET_KEYS'),
    })
    expect(problemsOf({ SPILLWAY_NONSENSE_ALTOGETHER: 'x' })).toHaveProperty('SPILLWAY_NONSENSE_ALTOGETHER')
  })

  test('never repeats what may hold a credential', () => {
    const canary = 'c4n4ry'
    const refuse = () =>
      parseConfig({
        DATABASE_URL: `mysql://user:${canary}@host/db`,
        SPILLWAY_SOURCE_DATABASE_URL: `postgres://user:${canary}@[host/db`,
        SPILLWAY_SECRET_KEYS: `${canary}:${canary}`,
        SPILLWAY_BATCH_SIZE: canary,
        SPILLWAY_BACKOFF_SCHEDULE_MS: canary,
        SPILLWAY_HTTP_HOST: `${canary}:80`,
        LOG_LEVEL: canary,
        SPILLWAY_API_TOKN: canary,
      })
    let error: unknown
    try {
      refuse()
    } catch (caught) {
      error = caught
    }
    if (!(error instanceof ConfigError)) throw new Error('It was not refused.')
    expect(error.fields).toHaveLength(8)
    expect(`${error.message} ${error.stack} ${JSON.stringify(error)}`).not.toContain(canary)
  })
})
