import { expect, it } from 'vitest'
import { variants } from '../../support/audit-table.ts'
import { seeded } from '../../support/random.ts'
import { plan, type Transaction } from '../../support/writers/plan.ts'

it.each(variants)('writers on a table of the form $name do the same under the same seed', (variant) => {
  function first(seed: number): Transaction[] {
    const orgs = ['acme', null] as const
    const transactions = plan(seeded(seed), { writer: 'w', variant, orgs, longestPauseMs: 300 })
    return Array.from({ length: 200 }, () => transactions.next().value)
  }
  expect(first(1)).toEqual(first(1))
  expect(first(1)).not.toEqual(first(2))
  expect(new Set(keysOf(first(1))).size).toBe(keysOf(first(1)).length)
})

function keysOf(transactions: readonly Transaction[]): string[] {
  const keys: string[] = []
  JSON.stringify(transactions, (name, value) => {
    if (name === 'key' && typeof value === 'string') keys.push(value)
    return value
  })
  return keys
}
