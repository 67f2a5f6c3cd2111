import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseDatadogConfig, sites } from '../../../providers/datadog/config.ts'
import { datadog } from '../../../providers/datadog/index.ts'
import { DestinationConfigError } from '../../../providers/provider.ts'
import { anyEvent, eventWith, runs } from './events.ts'

const apiKey = '0f4bd2f0c1a94c1d9e3a5b7c8d6e1f20'
const config = parseDatadogConfig({ apiKey })
/** 2026-03-01T12:00:00Z */
const now = 1_772_366_400_000

function problems(raw: unknown): Record<string, string> {
  try {
    parseDatadogConfig(raw)
  } catch (error) {
    if (error instanceof DestinationConfigError) {
      return Object.fromEntries(error.fields.map(({ field, problem }) => [field, problem]))
    }
    throw error
  }
  return {}
}

function message(data: unknown, id = 'action:1'): string {
  return JSON.parse(datadog.encode(eventWith(data, { id }), config, now)).message
}

describe('the config of datadog', () => {
  it('needs a key and nothing else', () => {
    expect(config).toEqual({
      url: new URL('https://http-intake.logs.datadoghq.com/api/v2/logs'),
      apiKey,
      service: undefined,
      source: 'spillway',
      hostname: undefined,
      ddtags: undefined,
      timestampMode: 'event',
      timeoutMs: undefined,
    })
  })

  it.each(sites)('knows the site %s', (site) => {
    expect(parseDatadogConfig({ apiKey, site }).url.href).toBe(`https://http-intake.logs.${site}/api/v2/logs`)
  })

  it.each([
    ['https://proxy.example', 'https://proxy.example/api/v2/logs'],
    ['https://proxy.example/dd/?a=b', 'https://proxy.example/dd/api/v2/logs?a=b'],
    ['http://proxy.example/api/v2/logs', 'http://proxy.example/api/v2/logs'],
  ])('sends by way of %s to %s', (endpoint, url) => {
    expect(parseDatadogConfig({ apiKey, endpoint }).url.href).toBe(url)
  })

  it.each([
    [['env:prod', 'team:core'], 'env:prod,team:core'],
    [{ env: 'prod', team: 'core' }, 'env:prod,team:core'],
    [[], undefined],
    [{}, undefined],
  ])('writes the tags %j as %s', (tags, ddtags) => {
    expect(parseDatadogConfig({ apiKey, tags }).ddtags).toBe(ddtags)
  })

  it.each([
    [{}, ['apiKey']],
    [{ apiKey: 'a b' }, ['apiKey']],
    [{ apiKey: 'a\n' }, ['apiKey']],
    [{ apiKey: { $secret: 'x' } }, ['apiKey']],
    [{ apiKey, api_key: 'x' }, ['api_key']],
    [{ apiKey, site: 'datadog.com' }, ['site']],
    [{ apiKey, endpoint: 'proxy.example' }, ['endpoint']],
    [{ apiKey, service: '' }, ['service']],
    [{ apiKey, source: 7 }, ['source']],
    [{ apiKey, hostname: 'a\nb' }, ['hostname']],
    [{ apiKey, tags: 'env:prod' }, ['tags']],
    [
      { apiKey, tags: ['a,b', 7, '', ' x', 'y'.repeat(201)] },
      ['tags[0]', 'tags[1]', 'tags[2]', 'tags[3]', 'tags[4]'],
    ],
    [{ apiKey, tags: { env: null, team: 'a,b' } }, ['tags.env', 'tags.team']],
    [{ apiKey, tags: Array.from({ length: 101 }, (_, n) => `t:${n}`) }, ['tags']],
    [{ apiKey, timeoutMs: 600_001 }, ['timeoutMs']],
  ])('refuses %j', (raw, fields) => {
    expect(Object.keys(problems(raw))).toEqual(fields.map((field) => `config.${field}`))
    expect(JSON.stringify(problems(raw))).not.toContain(apiKey)
  })
})

describe('the message of a log', () => {
  it.each([
    [{ action: 'login', actor: 'bob', ip: '10.0.0.1' }, 'action:1 actor=bob action=login ip=10.0.0.1'],
    [{ method: 'GET', path: '/a b', status: 200 }, 'action:1 method=GET path="/a b" status=200'],
    [{ action: true, actor: null, host: { a: 1 } }, 'action:1 action=true'],
    [{ foo: 'x', bar: 1.5, list: [1], gone: null }, 'action:1 foo=x bar=1.5'],
    [{}, 'action:1'],
  ])('tells what happened in %j', (data, text) => {
    expect(message(data)).toBe(text)
  })

  it('shows a long value in part and an unknown table in part', () => {
    expect(message({ actor: 'x'.repeat(500) })).toBe(`action:1 actor=${'x'.repeat(120)}…`)
    const wide = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`c${n}`, n]))
    expect(message(wide).split(' ')).toHaveLength(9)
  })
})

describe('a log', () => {
  it('keeps the digits of numbers', () => {
    const dataJson = '{"bytes":12345678901234567890}'
    expect(datadog.encode(eventWith({}, { dataJson }), config, now)).toContain(`"data":${dataJson}}`)
  })

  it('has a whole number of milliseconds as its time', () => {
    const event = eventWith({}, { timestampMs: 1_772_366_400_123.456 })
    expect(JSON.parse(datadog.encode(event, config, now)).timestamp).toBe(1_772_366_400_123)
  })

  it('is one JSON object that no event can break or forge', () => {
    fc.assert(
      fc.property(anyEvent, (event) => {
        const text = datadog.encode(event, config, now)
        expect(text).not.toMatch(/[\r\n]/)
        expect(JSON.parse(text)).toEqual({
          message: expect.any(String),
          ddsource: 'spillway',
          timestamp: event.timestampMs,
          id: event.id,
          event: event.logType,
          org_id: event.orgId,
          data: JSON.parse(event.dataJson),
        })
      }),
      runs,
    )
  })
})

describe('the time of a log', () => {
  const forward = parseDatadogConfig({ apiKey, timestampMode: 'forward' })
  const hour = 3_600_000
  const times = (ageMs: number, mode = forward) => {
    const event = eventWith({}, { timestampMs: now - ageMs, timestamp: '2026-02-28T12:00:00.123456Z' })
    const { timestamp, original_timestamp } = JSON.parse(datadog.encode(event, mode, now + 0.5))
    return { timestamp, original_timestamp }
  }

  it.each([0, 16 * hour - 1, -hour, -1.9 * hour])('is its own at the age of %i ms', (ageMs) => {
    for (const mode of [config, forward]) {
      expect(times(ageMs, mode)).toEqual({ timestamp: now - ageMs, original_timestamp: undefined })
    }
  })

  it.each([16 * hour + 1, 18 * hour, 1_000 * hour, -2 * hour, -1_000 * hour])(
    'is that of sending at the age of %i ms with "forward", and the original stays in full precision',
    (ageMs) => {
      expect(times(ageMs)).toEqual({ timestamp: now, original_timestamp: '2026-02-28T12:00:00.123456Z' })
      expect(times(ageMs, config)).toEqual({ timestamp: now - ageMs, original_timestamp: undefined })
    },
  )

  it('bounds what is sent, well within what the intake takes, but with "forward"', () => {
    expect(datadog.limits(config)).toMatchObject({
      maxEventAgeMs: 17.75 * hour + 10 * 60_000,
      maxEventAheadMs: 115 * 60_000,
    })
    expect(datadog.limits(forward)).not.toHaveProperty('maxEventAgeMs')
    expect(datadog.limits(forward)).not.toHaveProperty('maxEventAheadMs')
  })

  it('is "event" or "forward"', () => {
    expect(problems({ apiKey, timestampMode: 'now' })).toHaveProperty(['config.timestampMode'])
  })
})
