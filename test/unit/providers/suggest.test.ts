import { expect, it } from 'vitest'
import { suggest } from '../../../providers/suggest.ts'

const names = ['url', 'method', 'timeoutMs', 'headers', 'org_id']

it.each([
  ['metod', 'method'],
  ['timeout_ms', 'timeoutMs'],
  ['Headers', 'headers'],
  ['hedaers', 'headers'],
  ['orgId', 'org_id'],
  ['URL', 'url'],
])('%s was meant to be %s', (written, meant) => {
  expect(suggest(written, names)).toBe(meant)
})

it.each(['id', 'ur', 'favouriteColour', '', 'x'.repeat(10_000)])(
  '%s was meant to be nothing known',
  (written) => {
    expect(suggest(written, names)).toBeUndefined()
  },
)
