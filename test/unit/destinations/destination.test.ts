import { describe, expect, test } from 'vitest'
import { type Configured, DestinationConfigError, type DestinationType } from '../../../providers/provider.ts'
import { type DeliverySettings, deliveryDefaults } from '../../../src/destinations/delivery-settings.ts'
import {
  type DestinationRow,
  type DestinationRules,
  parseDestination,
} from '../../../src/destinations/destination.ts'
import { openVault } from '../../../src/destinations/secrets.ts'

const configured: Configured = {
  limits: { maxEvents: 1, maxBytes: 1, maxEventBytes: 1 },
  framing: { prefix: '', separator: '', suffix: '', gzip: false },
  encode: () => '',
  open: () => ({ send: async () => ({ kind: 'accepted' }), close: async () => {} }),
}
const http: DestinationType = {
  type: 'http',
  configure(config) {
    if (JSON.stringify(config) === '{}') return configured
    throw new DestinationConfigError([
      { field: 'config.url', problem: 'is missing' },
      { field: 'config.urll', problem: 'is not known' },
    ])
  },
}
const delivery = deliveryDefaults({
  batchSize: 250,
  maxCatchupBatches: 20,
  interBatchDelayMs: 100,
  maxBacklogAgeMs: 86_400_000,
})
const rules: DestinationRules = {
  types: new Map([['http', http]]),
  logTypes: new Map([
    ['request', { hasOrg: true }],
    ['action', { hasOrg: true }],
    ['system', { hasOrg: false }],
  ]),
  delivery,
  vault: openVault({ secretKeys: [], secretVariables: new Map() }),
}
const row: DestinationRow = {
  id: 7,
  orgId: 'acme',
  name: 'siem',
  type: 'http',
  config: {},
  logTypes: ['request'],
  enabled: true,
  startFrom: 'now',
  filter: null,
  redaction: null,
  delivery: {},
  createdAt: 1_000,
  revision: '3/700',
}

function problems(changes: Partial<DestinationRow>): readonly string[] {
  try {
    parseDestination({ ...row, ...changes }, rules)
  } catch (error) {
    if (error instanceof DestinationConfigError) return error.fields.map(({ field }) => field)
    throw error
  }
  return []
}

describe('a destination’s row', () => {
  test('becomes a destination with the daemon’s settings', () => {
    expect(parseDestination(row, rules)).toEqual({
      id: 7,
      orgId: 'acme',
      name: 'siem',
      type: 'http',
      logTypes: ['request'],
      startFrom: { kind: 'now' },
      createdAt: 1_000,
      revision: '3/700',
      delivery,
      configured,
    })
  })

  test('overrides the daemon’s settings one by one', () => {
    const overrides: DeliverySettings = {
      batchSize: 1,
      maxCatchupBatches: 2,
      interBatchDelayMs: 0,
      maxInFlight: 3,
      maxBacklogAgeMs: 4,
      onBacklogExpiry: 'hold',
      maxEventsPerSecond: 5,
      maxRequestsPerMinute: 6,
      unhealthyAfterFailures: 7,
      unhealthyAfterMs: 8,
    }
    expect(parseDestination({ ...row, delivery: overrides }, rules).delivery).toEqual(overrides)
    expect(parseDestination({ ...row, delivery: { maxInFlight: 8 } }, rules).delivery).toEqual({
      ...delivery,
      maxInFlight: 8,
    })
  })

  test('names a log type twice and gets it once', () => {
    const { logTypes } = parseDestination({ ...row, logTypes: ['request', 'action', 'request'] }, rules)
    expect(logTypes).toEqual(['request', 'action'])
  })

  test.each<[string, Partial<DestinationRow>, string[]]>([
    ['an unknown type', { type: 'htpp' }, ['type']],
    ['a type that every object has', { type: 'constructor' }, ['type']],
    ['no log type', { logTypes: [] }, ['log_types']],
    ['unknown log types, each', { logTypes: ['nothing', 'request', 'else'] }, ['log_types', 'log_types']],
    ['a filter', { filter: {} }, ['filter']],
    ['a filter that is false', { filter: false }, ['filter']],
    ['a redaction', { redaction: [] }, ['redaction']],
    ['an unknown start', { startFrom: 'yesterday' }, ['start_from']],
    ['a bad config', { config: { urll: 1 } }, ['config.url', 'config.urll']],
    ['an unknown delivery setting', { delivery: { batchsize: 5 } }, ['delivery.batchsize']],
    ['delivery settings that are no object', { delivery: [1] }, ['delivery']],
    ['delivery settings that are none', { delivery: null }, ['delivery']],
  ])('is refused for %s', (_, changes, fields) => {
    expect(problems(changes)).toEqual(fields)
  })

  test.each([
    ['batchSize', [0, -1, 1.5, '5', 10_001, true]],
    ['maxCatchupBatches', [0, 100_001]],
    ['interBatchDelayMs', [-1, 3_600_001, Number.NaN]],
    ['maxInFlight', [0, 65]],
    ['maxBacklogAgeMs', [0, 366 * 86_400_000]],
    ['maxEventsPerSecond', [0, 0.5]],
    ['maxRequestsPerMinute', [0, -1]],
    ['unhealthyAfterFailures', [0, 1.5]],
    ['unhealthyAfterMs', [0, 366 * 86_400_000]],
    ['onBacklogExpiry', ['drop', 1, '']],
  ])('is refused for a delivery.%s out of range', (name, values) => {
    for (const value of values)
      expect(problems({ delivery: { [name]: value } })).toEqual([`delivery.${name}`])
  })

  test('has all its bad fields named at once', () => {
    const bad = {
      type: 'htpp',
      logTypes: ['nothing'],
      filter: {},
      redaction: {},
      startFrom: 'x',
      delivery: { batchSize: 0, maxInFlight: 0 },
    }
    expect(problems(bad)).toEqual([
      'log_types',
      'filter',
      'redaction',
      'type',
      'start_from',
      'delivery.batchSize',
      'delivery.maxInFlight',
    ])
  })

  test('of one tenant may not name a source that cannot tell tenants apart', () => {
    expect(problems({ logTypes: ['request', 'system'] })).toEqual(['log_types'])
    expect(problems({ orgId: '', logTypes: ['system'] })).toEqual(['log_types'])
    expect(problems({ orgId: null, logTypes: ['request', 'system'] })).toEqual([])
  })

  test('does not hide an error that is none of the row’s', () => {
    const broken: DestinationType = {
      type: 'http',
      configure() {
        throw new TypeError('a bug')
      },
    }
    expect(() => parseDestination(row, { ...rules, types: new Map([['http', broken]]) })).toThrow('a bug')
  })
})

describe('where it starts', () => {
  const instantOf = (startFrom: string) => parseDestination({ ...row, startFrom }, rules).startFrom

  test('is now or the beginning', () => {
    expect(instantOf('now')).toEqual({ kind: 'now' })
    expect(instantOf('beginning')).toEqual({ kind: 'beginning' })
  })

  test.each([
    ['2026-01-31', '2026-01-31T00:00:00.000Z'],
    ['2026-01-31T10:30', '2026-01-31T10:30:00.000Z'],
    ['2026-01-31T10:30:15.5Z', '2026-01-31T10:30:15.500Z'],
    ['2026-01-31T10:30:15.999999999Z', '2026-01-31T10:30:15.999Z'],
    ['2026-01-31T10:30:00+05:30', '2026-01-31T05:00:00.000Z'],
    ['2026-01-31T10:30:00-0800', '2026-01-31T18:30:00.000Z'],
    ['2024-02-29', '2024-02-29T00:00:00.000Z'],
  ])('may be the instant %s, UTC where it has no zone, and never later than it says', (text, instant) => {
    expect(instantOf(text)).toEqual({ kind: 'instant', instant })
  })

  test.each([
    '',
    'Now',
    '2026-02-30',
    '2025-02-29',
    '2026-13-01',
    '2026-01-31T25:00:00Z',
    '2026-01-31 10:00:00',
    '0000-01-01',
    '26-01-31',
    '2026-01-31T10:00:00Z; DROP TABLE x',
    '1769817600',
  ])('is not %j', (startFrom) => {
    expect(problems({ startFrom })).toEqual(['start_from'])
  })
})
