import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Diagnosis } from '../../../src/sources/diagnosis.ts'
import type { Holders } from '../../../src/sources/holders.ts'
import type { Source } from '../../../src/sources/source.ts'
import { type Seen, StallWatch } from '../../../src/sources/stall.ts'
import type { Log } from '../../../src/telemetry/log.ts'

const policy = { afterMs: 10_000, againMs: 60_000 }
const holders: Holders = {
  count: 2,
  hiddenFrom: undefined,
  oldest: {
    pid: 4711,
    gid: undefined,
    applicationName: 'worker',
    user: 'app',
    database: 'billing',
    clientAddress: '10.0.0.7:51234',
    backendType: 'client backend',
    state: 'idle in transaction',
    wait: 'Client: ClientRead',
    blockedBy: [],
    lock: 'RowExclusiveLock on audit_id_seq',
    startedAt: 1_000,
    ageMs: 12_000,
  },
}

beforeEach(() => {
  vi.useFakeTimers({ now: 0 })
})
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})

function setUp(diagnosis: Partial<Diagnosis> = {}) {
  const lines: [string, number, unknown][] = []
  const asked: [number, string][] = []
  const log: Log = {
    emit: (code, ...[fields]) => void lines.push([code, Date.now(), fields]),
    child: () => log,
    count: () => {},
    flush: async () => {},
  }
  const stall = new StallWatch({
    logType: 'request',
    log,
    policy,
    now: () => Date.now(),
    diagnosis: {
      holders: (source, question) => {
        asked.push([Date.now(), question.kind])
        return diagnosis.holders?.(source, question) ?? Promise.resolve(holders)
      },
      rowsWait: (reader, position) => {
        asked.push([Date.now(), 'rows'])
        return diagnosis.rowsWait?.(reader, position) ?? Promise.resolve(true)
      },
    },
  })
  // Nothing here looks into the source: the questions are answered by the test.
  const place = { source: {} as Source, reader: { hasRowsAfter: async () => true } }
  const still: Seen = {
    horizon: '5',
    waiting: true,
    heldBy: { kind: 'members', transactions: ['3/1'] },
  }
  /** A look every 250 ms, for so long. */
  const look = async (ms: number, seen: Partial<Seen> = {}) => {
    for (const end = Date.now() + ms; Date.now() < end; ) {
      stall.seen({ ...still, ...seen }, place)
      await vi.advanceTimersByTimeAsync(250)
    }
  }
  return { stall, place, lines, asked, look, times: () => lines.map(([code, at]) => [code, at]) }
}

describe('a horizon that stands still while rows wait', () => {
  test('is said after 10 s, then every minute, and its end once', async () => {
    const { look, times } = setUp()
    await look(135_000)
    await look(2_000, { horizon: '9', waiting: false })
    expect(times()).toEqual([
      ['horizon.stalled', 10_000],
      ['horizon.stalled', 70_000],
      ['horizon.stalled', 130_000],
      ['horizon.moved', 135_000],
    ])
  })

  test('has an age as long as it stands, and none where it is not known that rows wait', async () => {
    const { stall, place, look } = setUp({ holders: () => Promise.reject(new Error('no such view')) })
    expect(stall.stalledForMs).toBe(0)
    await look(4_000)
    expect(stall.stalledForMs).toBe(4_000)
    await look(250, { horizon: '6' })
    expect(stall.stalledForMs).toBe(250)
    await look(250, { horizon: '6', waiting: false })
    expect(stall.stalledForMs).toBe(0)
    await look(5_000, { horizon: '6', waiting: undefined })
    expect(stall.stalledForMs).toBe(0)
    await look(6_000, { horizon: '6', waiting: undefined })
    expect(stall.stalledForMs).toBe(11_000)
    stall.stop()
    expect(stall.stalledForMs).toBe(0)
    // A table that is locked: the look does not come back.
    stall.looks(place)
    await vi.advanceTimersByTimeAsync(11_000)
    expect(stall.stalledForMs).toBe(11_000)
    stall.looked()
    stall.stop()
  })

  test('is described by its oldest holder', async () => {
    const { look, lines } = setUp()
    await look(10_500)
    expect(lines[0]?.[2]).toEqual({
      log_type: 'request',
      horizon: '5',
      stalled_for_ms: 10_000,
      holder: 'pid 4711 (worker, app@billing, idle in transaction)',
      holders: 2,
      holder_pid: 4711,
      application_name: 'worker',
      user: 'app',
      database: 'billing',
      client_address: '10.0.0.7:51234',
      backend_type: 'client backend',
      state: 'idle in transaction',
      wait: 'Client: ClientRead',
      lock: 'RowExclusiveLock on audit_id_seq',
      transaction_started_at: 1_000,
      transaction_age_ms: 12_000,
    })
  })

  test('counts from when rows began to wait, not from when it last moved', async () => {
    const { look, times } = setUp()
    await look(30_000, { waiting: false })
    await look(11_000)
    expect(times()).toEqual([['horizon.stalled', 40_000]])
  })

  test('is none while it moves, however slowly and whatever waits behind it', async () => {
    const { look, asked } = setUp()
    for (let move = 0; move < 10; move += 1) {
      await look(9_750, { horizon: String(move) })
    }
    expect(asked).toEqual([])
  })

  test('has ended when it moves, also where rows still wait: a further stall is a new one', async () => {
    const { look, times } = setUp()
    await look(12_000)
    await look(250, { horizon: '6' })
    await look(11_000, { horizon: '6' })
    expect(times()).toEqual([
      ['horizon.stalled', 10_000],
      ['horizon.moved', 12_000],
      ['horizon.stalled', 22_000],
    ])
  })

  test('is said nothing of when it was over before anybody was told', async () => {
    const { look, lines } = setUp()
    await look(9_900)
    await look(1_000, { horizon: '6', waiting: false })
    expect(lines).toEqual([])
  })
})

describe('where only the table tells whether rows wait', () => {
  test('it is asked at most every 10 s, and nothing is said while there are none', async () => {
    const { look, asked, lines } = setUp({ rowsWait: async () => false })
    await look(45_000, { waiting: undefined })
    expect(asked.map(([, kind]) => kind)).toEqual(['rows', 'rows', 'rows', 'rows'])
    const gaps = asked.slice(1).map(([at], index) => at - (asked[index]?.[0] ?? 0))
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(10_000)
    expect(lines).toEqual([])
  })

  test('the stall counts from the last answer that none wait', async () => {
    let rows = false
    const { look, lines } = setUp({ rowsWait: async () => rows })
    await look(11_000, { waiting: undefined })
    rows = true
    await look(12_000, { waiting: undefined })
    expect(lines).toMatchObject([['horizon.stalled', 20_250, { stalled_for_ms: 10_000 }]])
  })
})

describe('a question', () => {
  test('whose answer comes when the horizon has moved says nothing', async () => {
    const answer = Promise.withResolvers<Holders>()
    const { look, lines } = setUp({ holders: () => answer.promise })
    await look(11_000)
    await look(250, { horizon: '6', waiting: false })
    answer.resolve(holders)
    await look(250, { waiting: false })
    expect(lines).toEqual([])
  })

  test('that is not answered is not asked again meanwhile, and holds nothing up', async () => {
    const { look, asked } = setUp({ holders: () => new Promise<never>(() => {}) })
    await look(200_000)
    expect(asked).toEqual([[10_000, 'members']])
  })

  test('that finds nobody is asked again 10 s later', async () => {
    const answers = [undefined, undefined, holders]
    const { look, times, asked } = setUp({ holders: async () => answers.shift() })
    await look(31_000)
    expect(asked.map(([at]) => at)).toEqual([10_000, 20_000, 30_000])
    expect(times()).toEqual([['horizon.stalled', 30_000]])
  })

  test('that fails still says that the horizon stands, and why nothing more is known', async () => {
    const denied = Object.assign(new Error('permission denied for view pg_locks'), { code: '42501' })
    const { look, lines } = setUp({ holders: () => Promise.reject(denied) })
    await look(65_000)
    expect(lines).toHaveLength(1)
    expect(lines[0]?.[2]).toMatchObject({
      holder: 'a transaction that could not be looked up',
      hint: expect.stringContaining('permission denied for view pg_locks'),
    })
  })

  test('that fails for want of a connection says nothing: that is told elsewhere', async () => {
    const lost = Object.assign(new Error('lost'), { code: 'CONNECTION_CLOSED' })
    const { look, lines, asked } = setUp({ holders: () => Promise.reject(lost) })
    await look(25_000)
    expect(asked).toHaveLength(2)
    expect(lines).toEqual([])
  })

  test('says nothing after the source has been given up', async () => {
    const answer = Promise.withResolvers<Holders>()
    const { stall, look, lines } = setUp({ holders: () => answer.promise })
    await look(11_000)
    stall.stop()
    answer.resolve(holders)
    await vi.advanceTimersByTimeAsync(1)
    expect(lines).toEqual([])
  })
})

describe('a look that does not come back', () => {
  test('is asked about after 10 s, then every minute, and its end is said', async () => {
    const { stall, place, asked, look, times } = setUp()
    await look(1_000, { waiting: false })
    stall.looks(place)
    await vi.advanceTimersByTimeAsync(71_000)
    stall.looked()
    await look(250, { waiting: false })
    expect(asked.map(([, kind]) => kind)).toEqual(['lock', 'lock'])
    expect(times()).toEqual([
      ['horizon.stalled', 11_000],
      ['horizon.stalled', 71_000],
      ['horizon.moved', 72_000],
    ])
  })

  test('because the database is slow is no stall', async () => {
    const { stall, place, asked, lines } = setUp({ holders: async () => undefined })
    stall.looks(place)
    await vi.advanceTimersByTimeAsync(35_000)
    stall.looked()
    expect(asked).toHaveLength(3)
    expect(lines).toEqual([])
  })

  test('leaves no timer behind when it comes back', async () => {
    const { stall, place, asked } = setUp()
    stall.looks(place)
    await vi.advanceTimersByTimeAsync(9_999)
    stall.looked()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(asked).toEqual([])
  })
})
