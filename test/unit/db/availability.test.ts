import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Availability, errorCode, isTransient } from '../../../src/db/availability.ts'
import type { Log } from '../../../src/telemetry/log.ts'

const never = new AbortController().signal
const failure = (code: string) => Object.assign(new Error(code), { code })

function setUp() {
  const lines: string[] = []
  const log: Log = {
    emit: (code, ..._fields) => {
      lines.push(code)
    },
    child: () => log,
    count: () => {},
    flush: async () => {},
  }
  return { lines, availability: new Availability(log, 'state') }
}

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

describe('an error of the database', () => {
  test.each(['08006', '53300', '57P01', '57P03', '40001', '40P01', 'ECONNREFUSED', 'CONNECTION_CLOSED'])(
    '%s passes by itself',
    (code) => {
      expect(isTransient(failure(code))).toBe(true)
    },
  )

  test.each(['42P01', '42501', '23505', '22P02', '28P01', '0800', 'EACCES', '08', ''])(
    '%s does not',
    (code) => {
      expect(isTransient(failure(code))).toBe(false)
    },
  )

  test.each([undefined, null, 'ECONNREFUSED', 57, {}, { code: 57 }, new Error('no code')])(
    'that is %s has no code and does not pass',
    (error) => {
      expect(errorCode(error)).toBeUndefined()
      expect(isTransient(error)).toBe(false)
    },
  )
})

describe('waiting for the database', () => {
  test('runs the work again until it is back, and logs the outage and its end once', async () => {
    const { lines, availability } = setUp()
    let up = false
    const work = async () => {
      if (!up) throw failure('ECONNREFUSED')
      return 'well'
    }
    const results = Promise.all([availability.retry(work, never), availability.retry(work, never)])
    await vi.advanceTimersByTimeAsync(60_000)
    expect(availability.down).toBe(true)
    expect(lines).toEqual(['database.unavailable'])
    up = true
    await vi.advanceTimersByTimeAsync(2_000)
    expect(await results).toEqual(['well', 'well'])
    expect(availability.down).toBe(false)
    expect(lines).toEqual(['database.unavailable', 'database.recovered'])
  })

  test('does not hide an error that waiting does not mend', async () => {
    const { lines, availability } = setUp()
    const work = async () => {
      throw failure('42P01')
    }
    await expect(availability.retry(work, never)).rejects.toThrow('42P01')
    expect(lines).toEqual([])
  })

  test('ends with the signal’s reason', async () => {
    const { availability } = setUp()
    const abort = new AbortController()
    const work = availability.retry(async () => {
      throw failure('57P03')
    }, abort.signal)
    work.catch(() => {})
    await vi.advanceTimersByTimeAsync(10)
    abort.abort(new Error('stopping'))
    await expect(work).rejects.toThrow('stopping')
  })
})
