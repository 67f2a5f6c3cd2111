import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Failing, fail, recover } from '../../../src/telemetry/throttle.ts'

describe('the throttle of repeated failures', () => {
  test('logs the first failure, then one every 30 s with the count of those in between, then the end', () => {
    let state: Failing | undefined
    const lines: [number, number][] = []
    for (let now = 0; now <= 65_000; now += 5_000) {
      const result = fail(state, now)
      state = result.state
      if (result.log) lines.push([now, result.log.suppressed])
    }
    expect(lines).toEqual([
      [0, 0],
      [30_000, 5],
      [60_000, 5],
    ])
    expect(recover(state, 70_000)).toEqual({ failures: 14, failingForMs: 70_000 })
  })

  test('says nothing of a recovery where nothing had failed', () => {
    expect(recover(undefined, 1)).toBeUndefined()
  })

  test('accounts for every failure, in a line or as suppressed', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(60_000), { minLength: 1 }), (pauses) => {
        let state: Failing | undefined
        let now = 0
        let accounted = 0
        let loggedAt = Number.NEGATIVE_INFINITY
        for (const pause of pauses) {
          now += pause
          const result = fail(state, now)
          state = result.state
          if (!result.log) continue
          expect(now - loggedAt).toBeGreaterThanOrEqual(30_000)
          loggedAt = now
          accounted += 1 + result.log.suppressed
        }
        expect(accounted + (state?.suppressed ?? 0)).toBe(pauses.length)
        expect(recover(state, now)?.failures).toBe(pauses.length)
      }),
      { seed: 1 },
    )
  })
})
