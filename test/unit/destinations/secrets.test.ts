import { describe, expect, test } from 'vitest'
import { http } from '../../../providers/http/index.ts'
import { destinationType } from '../../../providers/provider.ts'
import { seal } from '../../../src/destinations/sealing.ts'
import { findSecrets, openVault, secretVariables } from '../../../src/destinations/secrets.ts'

const key = { id: 'k', key: new Uint8Array(32).fill(1) }
const vault = openVault({
  secretKeys: [key],
  secretVariables: secretVariables({
    SPILLWAY_SECRET_KEYS: 'k:ring',
    SPILLWAY_SECRET_SIEM: 'from the environment',
    SPILLWAY_SECRET_EMPTY: '',
    SPILLWAY_API_TOKEN: 'the daemon’s own',
    PATH: '/bin',
  }),
})
const reveal = (written: unknown, id = 7) => vault.of(id).reveal(written, [], 'credential')

describe('a secret field', () => {
  test('may hold plain text, a variable or a ciphertext of its destination', () => {
    expect(reveal('plain')).toEqual({ value: 'plain' })
    expect(reveal({ $secret: 'SIEM' })).toEqual({ value: 'from the environment' })
    expect(reveal({ $secret: 'SPILLWAY_SECRET_SIEM' })).toEqual({ value: 'from the environment' })
    expect(reveal(seal('sealed', 7, key))).toEqual({ value: 'sealed' })
    expect(reveal(seal('sealed', 8, key))).toHaveProperty('problem')
  })

  test.each([
    ['KEYS', 'SPILLWAY_SECRET_KEYS'],
    ['NONE', 'SPILLWAY_SECRET_NONE, which is not set'],
    ['EMPTY', 'SPILLWAY_SECRET_EMPTY, which is not set or empty'],
    ['SPILLWAY_SECRET_KEYS', 'must not name SPILLWAY_SECRET_KEYS'],
    ['SPILLWAY_API_TOKEN', 'SPILLWAY_SECRET_SPILLWAY_API_TOKEN, which is not set'],
    ['PATH', 'SPILLWAY_SECRET_PATH, which is not set'],
    ['../API_TOKEN', 'capital letters'],
    ['keys', 'capital letters'],
    ['', 'capital letters'],
    [7, 'not a number'],
    [null, 'not null'],
  ])('may not refer to %j', (name, part) => {
    const revealed = reveal({ $secret: name })
    expect(revealed).toEqual({ problem: expect.stringContaining(part) })
    expect(JSON.stringify(revealed)).not.toMatch(/k:ring|daemon’s own|\/bin/)
  })

  test('may hold a reference and nothing beside it', () => {
    expect(reveal({ $secret: 'SIEM', default: 'x' })).toHaveProperty('problem')
  })

  test('never shows in an error what was written where a name belongs', () => {
    expect(JSON.stringify(reveal({ $secret: 'hunter2-Secret' }))).not.toContain('hunter2')
  })

  test('of another shape comes back as it is, for the field to judge', () => {
    for (const written of [7, ['x'], { secret: 'x' }, true])
      expect(reveal(written)).toEqual({ value: written })
  })
})

describe('the secrets of a config', () => {
  test('are found by what its type reads, with where they are and how they are written', () => {
    const config = {
      url: 'https://example.com',
      auth: { type: 'basic', username: 'u', password: { $secret: 'SIEM' } },
      headers: { 'X.Key': 'h' },
      signing: { secrets: ['whsec_bad', 'enc:v1:k:AAAA'] },
    }
    expect(findSecrets(destinationType(http), config)).toEqual([
      { at: ['url'], written: 'https://example.com', kind: 'address' },
      { at: ['auth', 'password'], written: { $secret: 'SIEM' }, kind: 'credential' },
      { at: ['headers', 'X.Key'], written: 'h', kind: 'credential' },
      { at: ['signing', 'secrets', 0], written: 'whsec_bad', kind: 'credential' },
      { at: ['signing', 'secrets', 1], written: 'enc:v1:k:AAAA', kind: 'credential' },
    ])
  })

  test('are none in a config that is no object', () => {
    expect(findSecrets(destinationType(http), 'text')).toEqual([])
  })
})
