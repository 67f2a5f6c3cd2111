import { describe, expect, test } from 'vitest'
import { Notices } from '../../../src/delivery/notices.ts'

const rules = {
  unhealthyAfterFailures: 3,
  unhealthyAfterMs: 600,
  maxBacklogAgeMs: 1_000,
  onBacklogExpiry: 'skip',
} as const
const well = { consecutiveFailures: 0, firstFailedAt: undefined, lastErrorAt: undefined }
const failing = (failures: number) => ({
  consecutiveFailures: failures,
  firstFailedAt: 5_000,
  lastErrorAt: undefined,
})

function told(notices: Notices, failures: number, now: number) {
  return notices
    .due(failing(failures), now)
    .map((notice) => (notice.kind === 'unhealthy' ? 'unhealthy' : notice.percent))
}

describe('people are told', () => {
  test('nothing of a destination that is well', () => {
    const notices = new Notices(rules, well)
    expect(notices.due(well, 9_000)).toEqual([])
    expect(notices.nextInMs(well, 9_000)).toBeUndefined()
  })

  test('once that it is unhealthy: by the number of failures, or by their time', () => {
    const byNumber = new Notices(rules, well)
    expect([1, 2, 3, 4].map((failures) => told(byNumber, failures, 5_100))).toEqual([
      [],
      [],
      ['unhealthy'],
      [],
    ])
    const byTime = new Notices(rules, well)
    expect([5_400, 5_599, 5_600, 5_700].map((now) => told(byTime, 1, now))).toEqual([
      [],
      [50],
      ['unhealthy'],
      [],
    ])
  })

  test('at 50, 75 and 90 % of the backlog’s age, each once, with the time at which it is over', () => {
    const notices = new Notices({ ...rules, unhealthyAfterFailures: 9, unhealthyAfterMs: 9_999 }, well)
    expect([5_499, 5_500, 5_600, 5_750, 5_899, 5_900, 5_999].map((now) => told(notices, 1, now))).toEqual([
      [],
      [50],
      [],
      [75],
      [],
      [90],
      [],
    ])
    const late = new Notices(rules, well)
    expect(late.due(failing(1), 5_800)).toContainEqual({
      kind: 'expiring',
      percent: 75,
      expiresAt: 6_000,
      onExpiry: 'skip',
      failingForMs: 800,
    })
  })

  test('when the next one is due by time alone', () => {
    const notices = new Notices(rules, well)
    const next = (now: number) => {
      const wait = notices.nextInMs(failing(1), now)
      told(notices, 1, now + (wait ?? 0))
      return wait
    }
    expect([next(5_000), next(5_500), next(5_600), next(5_750), next(5_900)]).toEqual([
      500,
      100,
      150,
      150,
      undefined,
    ])
  })

  test('nothing again that was due when the last failure was recorded, by a run that starts', () => {
    const notices = new Notices(rules, { ...failing(3), lastErrorAt: 5_760 })
    expect(told(notices, 3, 5_800)).toEqual([])
    expect(told(notices, 3, 5_900)).toEqual([90])
  })

  test('anew after a recovery, and of the next backlog after one was given up', () => {
    const notices = new Notices(rules, well)
    told(notices, 3, 5_900)
    notices.recovered()
    expect(told(notices, 3, 5_500)).toEqual(['unhealthy', 50])
    notices.abandoned()
    expect(told(notices, 3, 5_500)).toEqual([50])
  })

  test('nothing of an end that is over', () => {
    expect(told(new Notices(rules, well), 9, 6_000)).toEqual(['unhealthy'])
  })
})
