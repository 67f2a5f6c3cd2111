import { describe, expect, test } from 'vitest'
import { Account, type ArrivedBatch } from '../../../../src/cli/demo/accounting.ts'
import { type AuditRow, logTypes, type PlannedDestination } from '../../../../src/cli/demo/plan.ts'

const plan: PlannedDestination = {
  name: 'hook',
  path: '/hook',
  org: 'acme',
  logTypes: ['request', 'action'],
  format: 'json_array',
  gzip: false,
  flaky: false,
}

const row = (id: number, org = 'acme'): AuditRow => ({ logType: 'request', id, org })
const batch = (id: string, ids: readonly number[], org: string | null = 'acme'): ArrivedBatch => ({
  id,
  digest: JSON.stringify([ids, org]),
  events: ids.map((each) => ({ id: `request:${each}`, org })),
})

function account(...committed: readonly AuditRow[]): Account {
  const made = new Account(plan)
  for (const each of committed) made.committed(each)
  return made
}

describe('the books of a destination', () => {
  test('balance when every committed row was accepted', () => {
    const books = account(row(1), row(2))
    expect(books.behind).toBe(2)
    books.arrived(batch('a', [1, 2]), 'accepted', 5)
    expect(books).toMatchObject({ written: 2, delivered: 2, behind: 0, unmatched: [], disordered: 0 })
    expect(books.last).toEqual({ id: 'request:2', at: 5 })
  })

  test('expect only rows of its org and log types', () => {
    const books = account(row(1, 'globex'), { logType: 'access', id: 2, org: 'acme' })
    expect(books.written).toBe(0)
    const all = new Account({ ...plan, org: null, logTypes })
    all.committed(row(1, 'globex'))
    all.arrived(batch('a', [1], 'globex'), 'accepted', 0)
    expect(all).toMatchObject({ written: 1, delivered: 1, foreign: 0 })
  })

  test('name what is missing', () => {
    const books = account(row(1), row(2))
    books.arrived(batch('a', [1]), 'accepted', 0)
    expect(books.missing).toEqual(['request:2'])
  })

  test('count nothing as delivered that the endpoint has refused', () => {
    const books = account(row(1))
    books.arrived(batch('a', [1]), 'refused', 0)
    expect(books).toMatchObject({ delivered: 0, behind: 1, refused: 1 })
    books.arrived(batch('a', [1]), 'accepted', 0)
    expect(books).toMatchObject({ delivered: 1, repeated: 0, altered: 0 })
  })

  test('match an event that arrives before its commit is confirmed', () => {
    const books = account()
    books.arrived(batch('a', [1]), 'accepted', 0)
    expect(books).toMatchObject({ delivered: 0, unmatched: ['request:1'] })
    books.committed(row(1))
    expect(books).toMatchObject({ written: 1, delivered: 1, behind: 0, unmatched: [] })
  })

  test('keep a row that was rolled back as unmatched', () => {
    const books = account(row(1))
    books.arrived(batch('a', [1, 2]), 'accepted', 0)
    expect(books.unmatched).toEqual(['request:2'])
  })

  test('allow a batch to come again under its id, but not with other bytes', () => {
    const books = account(row(1))
    books.arrived(batch('a', [1]), 'accepted', 0)
    books.arrived(batch('a', [1]), 'accepted', 0)
    expect(books).toMatchObject({ delivered: 1, repeated: 1, altered: 0, unmatched: [] })
    books.arrived({ ...batch('a', [1]), digest: 'other' }, 'accepted', 0)
    expect(books.altered).toBe(1)
  })

  test('notice an event that comes again under another batch id', () => {
    const books = account(row(1))
    books.arrived(batch('a', [1]), 'accepted', 0)
    books.arrived(batch('b', [1]), 'accepted', 0)
    expect(books).toMatchObject({ delivered: 1, unmatched: ['request:1'], disordered: 1 })
  })

  test('notice an event of another org, also in a refused request (I7)', () => {
    const books = account(row(1))
    books.arrived(batch('a', [1], 'globex'), 'refused', 0)
    books.arrived(batch('b', [1], null), 'accepted', 0)
    expect(books.foreign).toBe(2)
  })

  test('notice an event that comes after a later one', () => {
    const books = account(row(1), row(2))
    books.arrived(batch('a', [2]), 'accepted', 0)
    books.arrived(batch('b', [1]), 'accepted', 0)
    expect(books).toMatchObject({ behind: 0, disordered: 1 })
  })
})
