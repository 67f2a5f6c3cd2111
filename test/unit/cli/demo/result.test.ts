import { describe, expect, test } from 'vitest'
import { type DemoResult, tell } from '../../../../src/cli/demo/result.ts'

const destination = {
  name: 'hook',
  org: 'acme',
  written: 1_000,
  delivered: 1_000,
  lost: 0,
  missing: [],
  refused_requests: 0,
  repeated: 0,
  duplicates: 0,
  ghosts: 0,
  foreign_org: 0,
  altered_batches: 0,
  out_of_order: 0,
}
const good: DemoResult = {
  ok: true,
  duration_ms: 15_000,
  rows: 1_500,
  transactions: 700,
  rolled_back: 70,
  destinations: [
    destination,
    { ...destination, name: 'flaky', written: 500, delivered: 500, refused_requests: 3 },
  ],
  naive: { written: 1_500, delivered: 1_350, lost: 150 },
}

describe('the summary', () => {
  test('says what was written, delivered and lost, in all and beside a naive reader', () => {
    const text = tell(good).join('\n')
    expect(text).toMatch(/written +delivered +lost/)
    expect(text).toMatch(/hook +1,000 +1,000 +0/)
    expect(text).toMatch(/total +1,500 +1,500 +0/)
    expect(text).toMatch(/naive reader +1,500 +1,350 +150/)
    expect(text).toContain('lost 10.0 % for good')
    expect(text).toContain('flaky was down in between and refused 3 requests')
  })

  test('names every fault', () => {
    const bad = {
      ...destination,
      delivered: 997,
      lost: 3,
      missing: ['request:4', 'request:5'],
      duplicates: 1,
      ghosts: 2,
      foreign_org: 4,
      altered_batches: 5,
      out_of_order: 6,
    }
    const faults = tell({ ...good, ok: false, destinations: [bad] }).filter((line) =>
      line.startsWith('FAULT'),
    )
    expect(faults).toHaveLength(6)
    expect(faults[0]).toBe('FAULT  hook: 3 committed but not delivered: request:4, request:5 …')
  })

  test('stands where nothing was written', () => {
    const empty = { written: 0, delivered: 0, lost: 0 }
    expect(tell({ ...good, naive: empty }).join('\n')).toContain('lost 0.0 %')
  })
})
