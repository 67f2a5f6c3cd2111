import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Bell, sleep, systemClock } from '../../src/clock.ts'

beforeEach(() => {
  vi.useFakeTimers({ now: 5_000 })
})
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})

/** Records when something ends. */
function ending(work: Promise<void>): { at: number | undefined } {
  const end: { at: number | undefined } = { at: undefined }
  const note = () => {
    end.at = Date.now() - 5_000
  }
  work.then(note, note)
  return end
}

describe('sleep', () => {
  test('ends after its time', async () => {
    const end = ending(sleep(100))
    await vi.advanceTimersByTimeAsync(99)
    expect(end.at).toBeUndefined()
    await vi.advanceTimersByTimeAsync(1)
    expect(end.at).toBe(100)
  })

  test('ends at once, without an error, when its signal aborts or has aborted', async () => {
    const abort = new AbortController()
    const end = ending(sleep(100, abort.signal))
    await vi.advanceTimersByTimeAsync(10)
    abort.abort()
    await vi.advanceTimersByTimeAsync(0)
    expect(end.at).toBe(10)
    const late = ending(sleep(100, abort.signal))
    await vi.advanceTimersByTimeAsync(0)
    expect(late.at).toBe(10)
  })

  test('leaves no listener behind on a signal that lives long', async () => {
    const { signal } = new AbortController()
    const add = vi.spyOn(signal, 'addEventListener')
    const remove = vi.spyOn(signal, 'removeEventListener')
    for (let turn = 0; turn < 20; turn += 1) {
      const end = ending(sleep(1, signal))
      await vi.advanceTimersByTimeAsync(1)
      expect(end.at).toBe(turn + 1)
    }
    expect(remove.mock.calls.length).toBe(add.mock.calls.length)
  })
})

describe('a bell', () => {
  test('ends the wait', async () => {
    const bell = new Bell()
    const end = ending(bell.wait())
    await vi.advanceTimersByTimeAsync(50)
    bell.ring()
    await vi.advanceTimersByTimeAsync(0)
    expect(end.at).toBe(50)
  })

  test('that rang just before the wait ends it, and only one', async () => {
    const bell = new Bell()
    bell.ring()
    bell.ring()
    const first = ending(bell.wait())
    await vi.advanceTimersByTimeAsync(0)
    expect(first.at).toBe(0)
    const second = ending(bell.wait(30))
    await vi.advanceTimersByTimeAsync(29)
    expect(second.at).toBeUndefined()
    await vi.advanceTimersByTimeAsync(1)
    expect(second.at).toBe(30)
  })

  test('that rings twice at once ends one wait', async () => {
    const bell = new Bell()
    const first = ending(bell.wait())
    bell.ring()
    bell.ring()
    await vi.advanceTimersByTimeAsync(0)
    expect(first.at).toBe(0)
    const second = ending(bell.wait(30))
    await vi.advanceTimersByTimeAsync(29)
    expect(second.at).toBeUndefined()
    bell.ring()
    await vi.advanceTimersByTimeAsync(0)
    expect(second.at).toBe(29)
  })

  test('is waited for at most the given time, and rings for the next wait after it', async () => {
    const bell = new Bell()
    const end = ending(bell.wait(30))
    await vi.advanceTimersByTimeAsync(30)
    expect(end.at).toBe(30)
    bell.ring()
    const next = ending(bell.wait(30))
    await vi.advanceTimersByTimeAsync(0)
    expect(next.at).toBe(30)
  })

  test('with a time beyond the timers’ 31 bits does not end at once', async () => {
    const bell = new Bell()
    const end = ending(bell.wait(10_000_000_000))
    await vi.advanceTimersByTimeAsync(86_400_000)
    expect(end.at).toBeUndefined()
    bell.ring()
    await vi.advanceTimersByTimeAsync(0)
    expect(end.at).toBe(86_400_000)
  })
})

test('the system clock tells the time, and durations that only grow', async () => {
  expect(systemClock.now()).toBe(5_000)
  const before = systemClock.monotonic()
  await vi.advanceTimersByTimeAsync(20)
  expect(systemClock.monotonic() - before).toBeGreaterThanOrEqual(20)
})
