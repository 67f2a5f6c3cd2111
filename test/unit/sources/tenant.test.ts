import { describe, expect, test } from 'vitest'
import { Tenant } from '../../../src/sources/tenant.ts'

const tenant = (type: string) => new Tenant({ name: 'org "id"', type, structured: false }, 't')

describe('an org column', () => {
  test.each(['text', 'character varying'])('of %s is compared as it is, so that its index serves', (type) => {
    expect(tenant(type)).toMatchObject({ expression: 't."org ""id"""', type: 'text' })
    expect(tenant(type).accepts("any text ' at all")).toBe(true)
  })

  test.each(['citext', 'character', 'numeric', 'constructor'])(
    'of %s is compared by its text, to the letter',
    (type) => {
      expect(tenant(type)).toMatchObject({ expression: 't."org ""id"""::text', type: 'text' })
      expect(tenant(type).accepts('x')).toBe(true)
    },
  )

  test('of uuid takes a uuid as PostgreSQL writes it, and nothing else', () => {
    const uuid = tenant('uuid')
    expect(uuid).toMatchObject({ expression: 't."org ""id"""', type: 'uuid' })
    expect(uuid.accepts('0b9c1d3e-0000-4000-8000-00000000000a')).toBe(true)
    for (const other of [
      '0B9C1D3E-0000-4000-8000-00000000000A',
      '0b9c1d3e00004000800000000000000a',
      'acme',
      '',
    ]) {
      expect(uuid.accepts(other)).toBe(false)
    }
  })

  test.each(['smallint', 'integer', 'bigint'])('of %s takes a number as PostgreSQL writes it', (type) => {
    const number = tenant(type)
    expect(number.type).toBe('bigint')
    for (const good of ['0', '7', '-7', '999999999999999999']) expect(number.accepts(good)).toBe(true)
    for (const bad of ['07', '+7', '-0', '', ' 7', '7.0', '1e3', '99999999999999999999']) {
      expect(number.accepts(bad)).toBe(false)
    }
  })
})
