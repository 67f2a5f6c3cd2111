import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { endInTurn, type Pace, slowAfterMs } from '../../../src/delivery/hand-over.ts'

const graceMs = 10_000

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** A destination whose next or present request takes so long. */
class Destination {
  readonly name: string
  readonly #pace: Partial<Pace>
  readonly #answersAt: number | undefined
  toldAt: number | undefined
  endedAt: number | undefined
  graceMs: number | undefined

  constructor(name: string, { leftMs, ...pace }: Partial<Pace> & { leftMs?: number } = {}) {
    this.name = name
    this.#pace = pace
    this.#answersAt = leftMs === undefined ? undefined : performance.now() + leftMs
  }

  /** `answerMs`: at the beginning. */
  get pace(): Pace {
    const isSending = this.#answersAt !== undefined && performance.now() < this.#answersAt
    const sinceMs = isSending ? performance.now() : 0
    return { failing: false, isSending, ...this.#pace, answerMs: (this.#pace.answerMs ?? 0) + sinceMs }
  }

  async end(graceMs: number): Promise<string> {
    this.toldAt = performance.now()
    this.graceMs = graceMs
    const leftMs = Math.min((this.#answersAt ?? 0) - performance.now(), graceMs)
    if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs))
    this.endedAt = performance.now()
    return this.name
  }
}

const leave = (
  members: readonly Destination[],
  options: { graceMs?: number; meanwhile?: Promise<unknown> } = {},
) =>
  endInTurn(members, {
    graceMs,
    pace: (member) => member.pace,
    end: (member, withinMs) => member.end(withinMs),
    meanwhile: Promise.resolve(),
    ...options,
  })

const toldAt = (members: readonly Destination[]) => members.map((member) => member.toldAt)

test('where nothing is under way all end at once', async () => {
  const members = [new Destination('one'), new Destination('other')]
  await expect(leave(members)).resolves.toEqual(['one', 'other'])
  expect(toldAt(members)).toEqual([0, 0])
})

test('the others go on until a slow request has come to its end', async () => {
  const slow = new Destination('slow', { answerMs: slowAfterMs + 1, leftMs: 3_000 })
  const members = [new Destination('well'), slow]
  const left = leave(members)
  await vi.runAllTimersAsync()
  await expect(left).resolves.toEqual(['slow', 'well'])
  expect(toldAt(members)).toEqual([3_000, 0])
  expect(members[0]?.graceMs).toBe(graceMs - 3_000)
})

test('they go on as well when the request that hangs had only begun', async () => {
  const hung = new Destination('hung', { answerMs: 10, leftMs: Number.POSITIVE_INFINITY })
  const members = [new Destination('well'), hung]
  const left = leave(members)
  await vi.runAllTimersAsync()
  await left
  expect(hung.toldAt).toBe(slowAfterMs)
  expect(hung.graceMs).toBe(graceMs - slowAfterMs)
  expect(members[0]?.toldAt).toBe(graceMs)
  // It has time for what it has under way, although none is left.
  expect(members[0]?.graceMs).toBe(1_000)
})

test('a request that is answered soon holds nobody up for longer than it takes to know', async () => {
  const members = [new Destination('well'), new Destination('quick', { answerMs: 5, leftMs: 20 })]
  const left = leave(members)
  await vi.runAllTimersAsync()
  await left
  expect(toldAt(members)).toEqual([slowAfterMs, slowAfterMs])
})

test('who fails, or was slow the last time, is ended first: its next request may begin at any time', async () => {
  const failing = new Destination('failing', { failing: true })
  const slow = new Destination('slow', { answerMs: 1_500 })
  const quick = new Destination('quick', { leftMs: 5 })
  const left = leave([quick, failing, slow])
  await vi.runAllTimersAsync()
  await left
  expect(toldAt([failing, slow, quick])).toEqual([0, 0, slowAfterMs])
})

test('the others go on until other work under the lease has ended', async () => {
  const members = [new Destination('well')]
  const meanwhile = new Promise((resolve) => setTimeout(resolve, 2_000))
  const left = leave(members, { meanwhile })
  await vi.runAllTimersAsync()
  await left
  expect(toldAt(members)).toEqual([2_000])
})

test('without grace all are ended at once, whatever they wait for', async () => {
  const members = [
    new Destination('hung', { answerMs: 1_000, leftMs: Number.POSITIVE_INFINITY }),
    new Destination('begun', { leftMs: Number.POSITIVE_INFINITY }),
    new Destination('well'),
  ]
  const work = Promise.withResolvers<void>()
  const left = leave(members, { graceMs: 0, meanwhile: work.promise })
  expect(toldAt(members)).toEqual([0, 0, 0])
  work.resolve()
  await left
})

test('what fails while others are waited for is told to who waits for all', async () => {
  const members = [new Destination('failing', { failing: true }), new Destination('begun', { leftMs: 50 })]
  const left = endInTurn(members, {
    graceMs,
    pace: (member) => member.pace,
    end: async () => {
      throw new Error('it failed')
    },
    meanwhile: Promise.reject(new Error('it failed')),
  })
  const told = expect(left).rejects.toThrow('it failed')
  await vi.runAllTimersAsync()
  await told
})
