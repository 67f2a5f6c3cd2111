import { describe, expect, test } from 'vitest'
import { destinationTypes } from '../../../src/app.ts'
import { type DraftOptions, parseDraft } from '../../../src/cli/destinations/draft.ts'
import { deliveryDefaults } from '../../../src/destinations/delivery-settings.ts'
import type { DestinationRules } from '../../../src/destinations/destination.ts'
import { openVault } from '../../../src/destinations/secrets.ts'
import { ConfigError } from '../../../src/errors.ts'

const rules: DestinationRules = {
  types: new Map(destinationTypes.map((type) => [type.type, type])),
  logTypes: new Map([
    ['request', { hasOrg: true }],
    ['system', { hasOrg: false }],
  ]),
  delivery: deliveryDefaults({
    batchSize: 250,
    maxCatchupBatches: 20,
    interBatchDelayMs: 100,
    maxBacklogAgeMs: 86_400_000,
  }),
  vault: openVault({ secretKeys: [], secretVariables: new Map() }),
}

const good: DraftOptions = {
  name: 'hook',
  type: 'http',
  logTypes: 'request',
  org: 'acme',
  config: '{"url": "https://example.com/"}',
}

function fieldsOf(options: DraftOptions): string[] {
  try {
    parseDraft(options, rules)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.fields.map(({ field }) => field)
    throw error
  }
}

/** `without(good, 'org')` */
function without(options: DraftOptions, name: keyof DraftOptions): DraftOptions {
  return Object.fromEntries(Object.entries(options).filter(([key]) => key !== name))
}

describe('a destination from the command line', () => {
  test('is a row that the daemon takes', () => {
    expect(parseDraft({ ...good, delivery: '{"batchSize": 10}', disabled: true }, rules)).toEqual({
      orgId: 'acme',
      name: 'hook',
      type: 'http',
      config: { url: 'https://example.com/' },
      logTypes: ['request'],
      enabled: false,
      startFrom: 'now',
      filter: null,
      redaction: null,
      delivery: { batchSize: 10 },
    })
  })

  test('is for all orgs only where that is said (I7)', () => {
    expect(fieldsOf(without(good, 'org'))).toEqual(['--org'])
    expect(fieldsOf({ ...good, org: '' })).toEqual(['--org'])
    expect(fieldsOf({ ...good, org: ' ' })).toEqual(['--org'])
    expect(fieldsOf({ ...good, allOrgs: true })).toEqual(['--org'])
    expect(parseDraft({ ...without(good, 'org'), allOrgs: true }, rules).orgId).toBeNull()
  })

  test('names every bad field at once', () => {
    const fields = fieldsOf({
      name: '',
      type: 'http',
      logTypes: 'request,unknown',
      config: '{"url": "ftp://x", "formt": 1}',
      startFrom: 'yesterday',
      delivery: '{"batchSize": 0}',
    })
    expect(fields).toEqual(
      expect.arrayContaining(['--org', '--name', 'log_types', 'start_from', 'delivery.batchSize']),
    )
    expect(fields).toEqual(expect.arrayContaining(['config.url', 'config.formt']))
  })

  test('says of broken JSON only that it is broken, not that its fields are missing', () => {
    expect(fieldsOf({ ...good, config: '{"url": ' })).toEqual(['config'])
    expect(fieldsOf({ ...good, delivery: '{' })).toEqual(['delivery'])
  })

  test('a missing type is said once', () => {
    expect(fieldsOf(without(good, 'type'))).toEqual(['--type'])
  })

  test('a single org gets no events that have no tenant', () => {
    expect(fieldsOf({ ...good, logTypes: 'system' })).toEqual(['log_types'])
    expect(fieldsOf({ ...without(good, 'org'), allOrgs: true, logTypes: 'system' })).toEqual([])
  })
})
