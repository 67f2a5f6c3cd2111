import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { EncodedBatch, Outcome, Sender } from '../../../providers/provider.ts'
import { attempt } from '../../../src/delivery/attempt.ts'
import { cutBatch } from '../../../src/delivery/batch.ts'
import { items, rules } from './items.ts'

const { batch } = cutBatch(items(2), 0, '0', undefined, rules(), 0)
const never = new AbortController().signal
const accepted: Outcome = { kind: 'accepted' }
const retry = (code: 'http_status' | 'timeout' = 'http_status', retryAfterMs?: number): Outcome => ({
  kind: 'retry',
  reason: { code, message: 'Not now.' },
  ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
})

class FakeSender implements Sender {
  readonly sent: EncodedBatch[] = []
  readonly #answers: (Outcome | Error)[]

  constructor(...answers: (Outcome | Error)[]) {
    this.#answers = answers
  }

  async send(sentBatch: EncodedBatch): Promise<Outcome> {
    this.sent.push(sentBatch)
    const answer = this.#answers.shift() ?? accepted
    if (answer instanceof Error) throw answer
    return answer
  }

  async close(): Promise<void> {}
}

/** Lets all pauses pass. */
async function outcomeOf(sender: Sender, quickRetries = true, signal = never): Promise<Outcome> {
  const outcome = attempt(sender, batch, { quickRetries, stopping: never }, signal)
  outcome.catch(() => {})
  await vi.runAllTimersAsync()
  return outcome
}

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

describe('an attempt', () => {
  test('that is accepted sends once', async () => {
    const sender = new FakeSender(accepted)
    expect(await outcomeOf(sender)).toEqual(accepted)
    expect(sender.sent).toEqual([batch])
  })

  test('of a healthy destination tries the same batch twice more, within seconds', async () => {
    const sender = new FakeSender(retry(), retry(), accepted)
    const began = Date.now()
    expect(await outcomeOf(sender)).toEqual(accepted)
    expect(sender.sent).toEqual([batch, batch, batch])
    expect(Date.now() - began).toBeLessThanOrEqual(6_000)
  })

  test('that quick retries do not mend comes to the last answer', async () => {
    const last = retry('http_status', 100)
    const sender = new FakeSender(retry(), retry(), last, accepted)
    expect(await outcomeOf(sender)).toBe(last)
    expect(sender.sent).toHaveLength(3)
  })

  test('of a failing destination is sent once', async () => {
    const sender = new FakeSender(retry(), accepted)
    expect(await outcomeOf(sender, false)).toMatchObject({ kind: 'retry' })
    expect(sender.sent).toHaveLength(1)
  })

  test.each([
    ['a time-out', retry('timeout')],
    ['a longer pause that was asked for', retry('http_status', 501)],
    ['a rejection', { kind: 'rejected', reason: { code: 'http_status', message: 'No.' } } as const],
    [
      'refused credentials',
      { kind: 'unauthorized', reason: { code: 'http_status', message: 'No.' } } as const,
    ],
    ['gone', { kind: 'gone', reason: { code: 'http_status', message: 'No.' } } as const],
    [
      'a partial answer',
      {
        kind: 'partial',
        refused: [{ index: 0, outcome: { kind: 'retry', reason: { code: 'network', message: '' } } }],
      } as const,
    ],
  ])('is not repeated at once after %s', async (_, outcome) => {
    const sender = new FakeSender(outcome, accepted)
    expect(await outcomeOf(sender)).toBe(outcome)
    expect(sender.sent).toHaveLength(1)
  })

  test('does not hide an error that the sender should not throw', async () => {
    const sender = new FakeSender(new TypeError('a bug'), accepted)
    await expect(outcomeOf(sender)).rejects.toThrow('a bug')
    expect(sender.sent).toHaveLength(1)
  })

  test('that is stopped between two tries rejects with the reason and sends no more', async () => {
    const stop = new AbortController()
    const sender = new FakeSender(retry(), accepted)
    const outcome = attempt(sender, batch, { quickRetries: true, stopping: stop.signal }, never)
    outcome.catch(() => {})
    await vi.advanceTimersByTimeAsync(100)
    stop.abort(new Error('stopping'))
    await expect(outcome).rejects.toThrow('stopping')
    await vi.runAllTimersAsync()
    expect(sender.sent).toHaveLength(1)
  })

  test.each([
    ['is accepted', accepted, accepted],
    ['is answered otherwise for good', retry('timeout'), retry('timeout')],
    ['could be tried again', retry(), 'stopping'],
  ])('that is stopped on its way and then %s comes to that, and sends no more', async (_, answer, end) => {
    const stop = new AbortController()
    const answered = Promise.withResolvers<Outcome>()
    let sent = 0
    const sender = {
      send: () => {
        sent += 1
        return answered.promise
      },
      close: async () => {},
    }
    const outcome = attempt(sender, batch, { quickRetries: true, stopping: stop.signal }, never)
    const came = outcome.catch((error: Error) => error.message)
    stop.abort(new Error('stopping'))
    answered.resolve(answer)
    await vi.runAllTimersAsync()
    expect(await came).toEqual(end)
    expect(sent).toBe(1)
  })
})
