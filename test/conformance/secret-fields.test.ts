/** The marked secrets cover what there is, and no refusal of a config shows one (I8). */
import { readdirSync, readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { destinationTypes } from '../../providers/index.ts'
import { DestinationConfigError } from '../../providers/provider.ts'
import { seal } from '../../src/destinations/sealing.ts'
import { findSecrets, openVault } from '../../src/destinations/secrets.ts'
import { createAuthority } from '../support/certificates.ts'
import { breakages, replaced } from '../support/secrets/breakages.ts'
import { secretConfigs } from '../support/secrets/configs.ts'
import { Marks } from '../support/secrets/marks.ts'
import { plain } from './fixture.ts'

const authority = createAuthority('test CA')
const targets = {
  url: 'http://127.0.0.1:9',
  secureUrl: 'https://127.0.0.1:9',
  tokenUrl: 'http://127.0.0.1:9/token',
  client: authority.issue({ name: 'client' }),
  ca: authority.cert,
}

/** `fields.secret('token', …)`, `fields.secrets('secrets', …)`, `fields.secretUrl('url', …)`, `fields.secretAt(['headers', …` */
function declaredFields(): string[] {
  const folder = new URL('../../providers/', import.meta.url)
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && name !== 'fields.ts')
    .flatMap((name) => [
      ...readFileSync(new URL(name, folder), 'utf8').matchAll(/\.secret\w*\(\s*\[?\s*([^\s,)\]]+)/g),
    ])
    .map(([, argument = '']) => argument)
  return [...new Set(names)].sort()
}

describe.each(destinationTypes.map((type) => [type.type, type] as const))('%s', (name, type) => {
  const marks = new Marks()
  const variants = Object.entries(secretConfigs[name]?.(marks, targets) ?? {})

  it('has configs with marked secrets, which it takes', () => {
    expect(variants.length).toBeGreaterThan(0)
    for (const [variant, config] of variants) {
      expect(() => type.configure(config, plain), variant).not.toThrow()
    }
  })

  it('has a mark in each of its credentials', () => {
    for (const [, config] of variants) {
      for (const { at, written, kind } of findSecrets(type, config)) {
        if (kind === 'credential') expect(marks.in(String(written)), at.join('.')).toHaveLength(1)
      }
    }
  })

  it('shows none of them, nor one in a wrong place, whatever is wrong with a config', () => {
    const key = { id: 'k', key: new Uint8Array(32) }
    const wrongPlace = marks.text('in a wrong place')
    const vaults = [
      plain,
      openVault({ secretKeys: [key], secretVariables: new Map([['OTHER', marks.text('other')]]) }).of(1),
    ]
    let refused = 0
    for (const [, config] of variants) {
      const moved = findSecrets(type, config).map(({ at, written }) => ({
        what: `${at.join('.')} encrypted for another destination`,
        config: replaced(config, at, seal(String(written), 2, key)),
      }))
      expect(moved.length).toBeGreaterThan(0)
      for (const { what, config: broken } of [...moved, ...breakages(config, wrongPlace)]) {
        for (const vault of vaults) {
          try {
            type.configure(broken, vault)
          } catch (error) {
            refused += 1
            expect(error).toBeInstanceOf(DestinationConfigError)
            const stack = error instanceof Error ? `${error.message}${error.stack}` : ''
            const shown = inspect(error, { depth: null, showHidden: true }) + JSON.stringify(error) + stack
            expect(marks.in(shown), what).toEqual([])
          }
        }
      }
    }
    expect(refused).toBeGreaterThan(20)
  })
})

it('between them, the configs fill every field that a provider reads as a secret', () => {
  const filled = new Set(
    destinationTypes.flatMap((type) =>
      Object.values(secretConfigs[type.type]?.(new Marks(), targets) ?? {}).flatMap((config) =>
        findSecrets(type, config).flatMap(({ at }) => at.map((step) => `'${step}'`)),
      ),
    ),
  )
  const declared = declaredFields()
  expect(declared).toEqual(
    expect.arrayContaining(["'apiKey'", "'clientSecret'", "'headers'", "'secrets'", "'url'"]),
  )
  expect(declared.filter((each) => !filled.has(each))).toEqual([])
})

describe('the search for marks', () => {
  const marks = new Marks()
  const secret = marks.text('one')

  it.each([
    ['in plain', secret],
    ['in a Basic header', Buffer.from(`some user:${secret}`).toString('base64')],
    ['in base64url', Buffer.from(`x${secret}`).toString('base64url')],
    ['in hex', Buffer.from(secret).toString('hex')],
    ['cut off', secret.slice(0, 26)],
    ['without its beginning', secret.slice(-26)],
  ])('finds one %s', (_, text) => {
    expect(marks.in(`… ${text} …`)).toEqual(['one'])
  })

  it('finds the key of a signature and a private key', () => {
    const whsec = `whsec_${Buffer.alloc(32, 'k').toString('base64')}`
    marks.keep('signature', whsec)
    marks.keep('key', targets.client.key)
    expect(marks.in(Buffer.alloc(32, 'k').toString('hex'))).toEqual(['signature'])
    expect(marks.in(JSON.stringify({ key: targets.client.key }))).toEqual(['key'])
  })

  it('finds none where there is none', () => {
    expect(marks.in(`${new Marks().text('one')} whsec_ -----BEGIN PRIVATE KEY-----`)).toEqual([])
  })
})
