import { beforeEach, describe, expect, test } from 'vitest'
import type { Lag } from '../../../src/delivery/fleet-store.ts'
import {
  type LaggingDestination,
  type LaggingStream,
  LagMeter,
  maxEventsCounted,
  maxProbesPerPass,
  maxWritesPerPass,
} from '../../../src/delivery/lag.ts'
import type { BacklogQuestion } from '../../../src/sources/backlogs.ts'

/** A table with a row at every position, stamped with it as seconds. */
class Table {
  horizon: string | undefined = '0'
  broken: Error | undefined
  /** What a statement takes, and what all have taken. */
  statementMs = 0
  tookMs = 0
  readonly asked: BacklogQuestion[] = []
  readonly reader = {
    backlogs: async (questions: readonly BacklogQuestion[]) => {
      if (this.broken) throw this.broken
      this.asked.push(...questions)
      this.tookMs += this.statementMs
      return questions.map(({ range, limit }) => ({
        count: Math.min(Number(range.upTo) - Number(range.after), limit),
        firstMs: (Number(range.after) + 1) * 1_000,
      }))
    },
    isOrdered: true,
  }
}

class Behind implements LaggingStream {
  isIdle = false
  emptyTo: string
  readonly logType: string
  readonly #table: Table

  constructor(table: Table, emptyTo: string, logType = 'request') {
    this.#table = table
    this.emptyTo = emptyTo
    this.logType = logType
  }

  scopeAfter() {
    return { orgId: 'acme' }
  }

  get source() {
    const { reader, horizon } = this.#table
    return { reader: horizon === undefined ? undefined : reader, horizon }
  }
}

let table: Table
let destinations: LaggingDestination[]
let unserved: number[]
let writes: Lag[][]
let nowMs: number
let isStateAway: boolean

beforeEach(() => {
  table = new Table()
  destinations = []
  unserved = []
  writes = []
  nowMs = 1_000_000
  isStateAway = false
})

const meter = () =>
  new LagMeter({
    destinations: () => destinations,
    unserved: () => unserved,
    save: async (lags) => {
      if (isStateAway) throw new Error('the database is away')
      writes.push([...lags])
    },
    clock: { now: () => nowMs, monotonic: () => table.tookMs },
    availability: { reportDown: () => {} },
    sourceAvailability: { reportDown: () => {} },
    log: { emit: () => {}, count: () => {}, child: () => never(), flush: async () => {} },
  })

function never(): never {
  throw new Error('not needed')
}

function add(id: number, ...streams: LaggingStream[]): void {
  destinations.push({ destination: { id, logTypes: streams.map(({ logType }) => logType) }, streams })
}

describe('how far a destination is behind', () => {
  test('adds up over its log types, and is as old as the first event of them', async () => {
    table.horizon = '500'
    add(1, new Behind(table, '400'), new Behind(table, '450', 'action'))
    await meter().runOnce()
    expect(writes).toEqual([[{ destinationId: 1, events: 150, seconds: 1_000 - 401 }]])
  })

  test('is nothing once all is settled, and at rest nobody is asked', async () => {
    table.horizon = '500'
    const stream = new Behind(table, '400')
    add(1, stream)
    const lag = meter()
    await lag.runOnce()
    stream.emptyTo = '500'
    stream.isIdle = true
    await lag.runOnce()
    expect(writes.at(-1)).toEqual([{ destinationId: 1, events: 0, seconds: 0 }])
    table.horizon = '600'
    await lag.runOnce()
    await lag.runOnce()
    expect(writes).toHaveLength(2)
    expect(table.asked).toHaveLength(1)
  })

  test('is nothing where the cursor has reached the horizon in the middle of the work', async () => {
    table.horizon = '500'
    const stream = new Behind(table, '400')
    add(1, stream)
    const lag = meter()
    await lag.runOnce()
    stream.emptyTo = '500'
    await lag.runOnce()
    expect(writes.at(-1)).toMatchObject([{ events: 0 }])
  })

  test('grows older without asking anybody while nothing comes', async () => {
    table.horizon = '500'
    add(1, new Behind(table, '400'))
    const lag = meter()
    await lag.runOnce()
    nowMs += 10_000
    await lag.runOnce()
    expect(writes.at(-1)).toEqual([{ destinationId: 1, events: 100, seconds: 609 }])
    expect(table.asked).toHaveLength(1)
  })

  test('is counted on from where it was counted to', async () => {
    table.horizon = '500'
    const stream = new Behind(table, '400')
    add(1, stream)
    const lag = meter()
    await lag.runOnce()
    table.horizon = '530'
    await lag.runOnce()
    expect(table.asked.at(-1)).toMatchObject({
      range: { after: '500', upTo: '530' },
      limit: maxEventsCounted - 100,
    })
    expect(writes.at(-1)).toMatchObject([{ events: 130, seconds: 599 }])
    stream.emptyTo = '510'
    await lag.runOnce()
    expect(table.asked.at(-1)).toMatchObject({
      range: { after: '510', upTo: '530' },
      limit: maxEventsCounted,
    })
    expect(writes.at(-1)).toMatchObject([{ events: 20, seconds: 489 }])
  })

  test('is counted anew when the table went back', async () => {
    table.horizon = '500'
    add(1, new Behind(table, '400'))
    const lag = meter()
    await lag.runOnce()
    table.horizon = '450'
    await lag.runOnce()
    expect(writes.at(-1)).toMatchObject([{ events: 50 }])
  })

  test('is counted to a limit, and beyond that nobody is asked any more', async () => {
    table.horizon = '900000'
    add(1, new Behind(table, '400'))
    const lag = meter()
    await lag.runOnce()
    table.horizon = '999999'
    await lag.runOnce()
    expect(writes[0]).toMatchObject([{ events: maxEventsCounted }])
    expect(table.asked).toHaveLength(1)
  })
})

describe('what was known stays', () => {
  const changes: Record<string, () => void> = {
    'while the source cannot be read': () => {
      table.horizon = undefined
    },
    'where it can be read by a scan only': () => {
      table.reader.isOrdered = false
    },
    'while the source gives no answer': () => {
      table.broken = new Error('connection lost')
    },
    'while a log type has no cursor': () => {
      destinations = destinations.map(({ destination, streams }) => ({
        destination: { ...destination, logTypes: ['request', 'action'] },
        streams,
      }))
    },
  }

  test.each(Object.entries(changes))('%s', async (_, happens) => {
    table.horizon = '500'
    const stream = new Behind(table, '400')
    add(1, stream)
    const lag = meter()
    await lag.runOnce()
    stream.emptyTo = '420'
    happens()
    await lag.runOnce()
    expect(writes).toHaveLength(1)
  })

  test('and is not known for written when it could not be', async () => {
    table.horizon = '500'
    add(1, new Behind(table, '400'))
    const lag = meter()
    isStateAway = true
    await expect(lag.runOnce()).rejects.toThrow('away')
    isStateAway = false
    await lag.runOnce()
    expect(writes).toMatchObject([[{ events: 100 }]])
  })
})

test('of destinations that are disabled or invalid nothing is known, which is said once', async () => {
  table.horizon = '500'
  add(1, new Behind(table, '400'))
  const lag = meter()
  await lag.runOnce()
  destinations = []
  unserved = [1]
  await lag.runOnce()
  await lag.runOnce()
  expect(writes.slice(1)).toEqual([[{ destinationId: 1, events: null, seconds: null }]])
})

describe('a pass is bounded', () => {
  const fleet = 10_000

  test('in what it asks, and ten thousand that fail take turns', async () => {
    table.horizon = '500'
    for (let id = 1; id <= fleet; id++) add(id, new Behind(table, '400'))
    const lag = meter()
    for (let pass = 1; pass <= fleet / maxProbesPerPass; pass++) {
      await lag.runOnce()
      expect(table.asked).toHaveLength(pass * maxProbesPerPass)
      expect(writes.at(-1)).toHaveLength(maxProbesPerPass)
    }
    expect(new Set(writes.flat().map(({ destinationId }) => destinationId)).size).toBe(fleet)
  })

  test('in the rows it counts', async () => {
    table.horizon = '900000'
    for (let id = 1; id <= 100; id++) add(id, new Behind(table, '400'))
    const lag = meter()
    await lag.runOnce()
    expect(table.asked.length * maxEventsCounted).toBe(200_000)
    for (let pass = 0; pass < 4; pass++) await lag.runOnce()
    expect(table.asked).toHaveLength(100)
    expect(new Set(writes.flat().map(({ destinationId }) => destinationId)).size).toBe(100)
  })

  test('in the time it takes, and still goes on', async () => {
    table.horizon = '500'
    table.statementMs = 400
    for (let id = 1; id <= 100; id++) add(id, new Behind(table, '400'))
    const lag = meter()
    await lag.runOnce()
    expect(table.tookMs).toBe(3 * table.statementMs)
    await lag.runOnce()
    await lag.runOnce()
    expect(new Set(writes.flat().map(({ destinationId }) => destinationId)).size).toBe(100)
    const before = table.asked.length
    table.statementMs = 5_000
    table.horizon = '600'
    await lag.runOnce()
    expect(table.asked.length).toBeGreaterThan(before)
  })

  test('in what it writes', async () => {
    for (let id = 1; id <= fleet; id++) {
      const stream = new Behind(table, '0')
      stream.isIdle = true
      add(id, stream)
    }
    for (let id = 1; id <= fleet; id++) unserved.push(fleet + id)
    const lag = meter()
    for (let pass = 0; pass < 25; pass++) await lag.runOnce()
    expect(Math.max(...writes.map(({ length }) => length))).toBe(maxWritesPerPass)
    expect(writes.flat()).toHaveLength(2 * fleet)
  })
})
