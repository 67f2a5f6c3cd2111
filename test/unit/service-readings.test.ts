import { expect, test } from 'vitest'
import { type ServiceParts, serviceReadings } from '../../src/service-readings.ts'

test("the lag of a destination that is another replica's now is not told, though the meter has not forgotten it", () => {
  const figures = new Map([
    [1, { events: 3, seconds: 10 }],
    [2, { events: 40, seconds: 7_200 }],
    [3, { events: null, seconds: null }],
  ])
  let ids = [1, 2, 3]
  const fleet = {
    get ids() {
      return ids
    },
  }
  // What the other figures are made of is not asked for.
  const told = serviceReadings({ fleet, lag: { figures } } as unknown as ServiceParts)
  const lags = () => [
    told.spillway_lag_events?.(),
    told.spillway_max_lag_events?.(),
    told.spillway_max_lag_seconds?.(),
  ]
  expect(lags()).toEqual([43, 40, 7_200])
  ids = [1, 3]
  expect(lags()).toEqual([3, 3, 10])
  ids = []
  expect(lags()).toEqual([0, 0, 0])
})
