import { readdirSync } from 'node:fs'
import { expect, it } from 'vitest'
import { destinationTypes } from '../../providers/index.ts'

it('every destination type is in the suite', () => {
  const suites = readdirSync(import.meta.dirname)
  const missing = destinationTypes.filter(
    ({ type }) => !suites.includes(`${type.replaceAll('_', '-')}.test.ts`),
  )
  expect(missing.map(({ type }) => type)).toEqual([])
})

it('every destination type has a name of its own', () => {
  const names = destinationTypes.map(({ type }) => type)
  expect(new Set(names).size).toBe(names.length)
})
