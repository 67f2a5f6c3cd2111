import { expect, test } from 'vitest'
import { Readiness } from '../../src/readiness.ts'

test('tells what all checks say, and of one that fails no more than its name', () => {
  const readiness = new Readiness({
    well: () => undefined,
    one: () => 'one thing',
    leases: () => {
      throw new Error('hush')
    },
    several: () => ['this', 'that'],
    none: () => [],
  })
  expect(readiness.problems).toEqual(['one thing', 'leases: cannot be told', 'this', 'that'])
})
