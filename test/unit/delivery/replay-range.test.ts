import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EncodedBatch, Outcome, Reason } from '../../../providers/provider.ts'
import { Lanes } from '../../../src/delivery/lanes.ts'
import { RangeWork, type Step } from '../../../src/delivery/replay-range.ts'
import type { RangeMove, ReplayRange } from '../../../src/delivery/replay-store.ts'
import { Stream } from '../../../src/delivery/stream.ts'
import type { PageReader, StreamSource } from '../../../src/delivery/stream-source.ts'
import type { ReadRow } from '../../../src/sources/reader.ts'
import { rules, runs } from './items.ts'

const reason: Reason = { code: 'http_status', status: 422, message: 'no' }
const rejected: Outcome = { kind: 'rejected', reason }
const size = { seats: 1, bytes: 10_000_000 }
const { signal } = new AbortController()

class Killed extends Error {}

interface Game {
  readonly count: number
  readonly batchSize: number
  readonly refusedBefore: boolean
  /** Answers a batch that has arrived. */
  answer(ids: readonly string[]): Outcome
  /** Kills at the n-th write or send, before it or after it. */
  readonly kills: readonly { readonly at: number; readonly after: boolean }[]
}

/** Plays a replay of rows 1 to `count`, over kills, until it ends or fails. */
async function play({ count, batchSize, refusedBefore, answer, kills }: Game) {
  let stored: ReplayRange = {
    logType: 'request',
    life: 'a',
    from: '0',
    to: String(count),
    position: '0',
    frozen: [],
    divided: undefined,
  }
  const record = { sent: [] as string[], dead: [] as string[] }
  const requests: { batch: EncodedBatch; outcome: Outcome }[] = []
  let step = 0
  const guarded = async <T>(work: () => T): Promise<T> => {
    step += 1
    const kill = kills.find(({ at }) => at === step)
    if (kill && !kill.after) throw new Killed()
    const result = work()
    if (kill) throw new Killed()
    return result
  }
  const reader: PageReader = {
    async readPage(_, { after, upTo }, limit, make) {
      const all = Array.from({ length: count }, (_, index) => index + 1)
      const wanted = all.filter((id) => id > Number(after) && id <= Number(upTo)).slice(0, limit.rows)
      const rows = wanted.map((id): ReadRow => {
        const event = { id: `request:${id}`, logType: 'request', timestamp: '', timestampMs: 0 }
        return { position: String(id), event: { ...event, orgId: null, dataJson: `{"n":${id}}` } }
      })
      const last = rows.at(-1)?.position
      return { rows: rows.map(make), last, full: wanted.length >= limit.rows, oldest: '1' }
    },
  }
  function apply(move: RangeMove): void {
    expect([stored.position, stored.frozen]).toEqual([move.from, move.fromFrozen])
    const { to: position, frozen, divided } = move
    stored = { ...stored, position, frozen, divided }
    record.sent.push(...move.accepted)
    record.dead.push(...move.deadLetters.map(({ eventId }) => eventId))
  }
  async function stint(): Promise<Step> {
    const stream = new Stream<StreamSource>({
      cursor: {
        life: 'a',
        position: stored.position,
        frozen: stored.frozen,
        ...(stored.divided === undefined ? {} : { divided: stored.divided }),
      },
      orgId: null,
      source: { reader, horizon: stored.to, oldest: undefined },
      rules: rules({ batchSize, replayId: '7' }),
      encode: ({ dataJson }) => dataJson,
      now: () => 0,
      oldestBefore: () => null,
    })
    const work = new RangeWork(stored, stream, {
      replayId: 7,
      destinationId: 1,
      refusedBefore,
      failures: () => 0,
      monotonic: () => 0,
      send: (batch) =>
        guarded(() => {
          // I4: its end is stored before it is sent.
          expect(stored.frozen).toContain(batch.to)
          const outcome = answer(batch.events.map(({ id }) => id))
          requests.push({ batch, outcome })
          return outcome
        }),
      move: (move) => guarded(() => apply(move)),
      onSettled: () => {},
    })
    let leaveAt = requests.length + 3
    const seat = await new Lanes({ healthy: size, failing: size, aside: size }).enter('healthy', signal)
    for (let steps = 0; steps < 2_000; steps++) {
      work.enter()
      const done = await work.step(seat, signal)
      if (done.kind !== 'next') return done
      // As where others wait for the seat.
      if (requests.length >= leaveAt) {
        leaveAt = requests.length + 3
        work.leave(false)
      }
    }
    throw new Error('makes no headway')
  }
  for (;;) {
    try {
      return { end: await stint(), stored, record, requests }
    } catch (error) {
      if (!(error instanceof Killed)) throw error
    }
  }
}

const ids = (numbers: Iterable<number>) => [...numbers].map((id) => `request:${id}`)
const all = (count: number) => ids(Array.from({ length: count }, (_, index) => index + 1))
const refusing = (poison: readonly string[]) => (batch: readonly string[]) =>
  batch.some((id) => poison.includes(id)) ? rejected : ({ kind: 'accepted' } as const)

const anyKills = fc.array(fc.record({ at: fc.integer({ min: 1, max: 80 }), after: fc.boolean() }), {
  maxLength: 6,
})

test('a range is sent in batches, and every event has one fate over any kills', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 2, max: 12 }),
      fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { maxLength: 4 }),
      anyKills,
      async (count, batchSize, poisoned, kills) => {
        // The first event of each batch is good: else it is the destination that may be wrong.
        const poison = ids(poisoned.filter((id) => id <= count && (id - 1) % batchSize !== 0))
        const game = { count, batchSize, refusedBefore: false, answer: refusing(poison), kills }
        const { end, stored, record, requests } = await play(game)
        expect(end).toEqual({ kind: 'end' })
        expect(stored).toMatchObject({ position: String(count), frozen: [], divided: undefined })
        expect(record.sent).toEqual(all(count).filter((id) => !poison.includes(id)))
        expect(record.dead.toSorted()).toEqual(poison.toSorted())
        const accepted = requests.filter(({ outcome }) => outcome.kind === 'accepted')
        const batchOf = new Map<string, string>()
        for (const { batch } of accepted) {
          for (const { id } of batch.events) {
            // What comes again comes under the same batch id.
            expect(batchOf.get(id) ?? batch.id).toBe(batch.id)
            batchOf.set(id, batch.id)
          }
        }
        expect([...batchOf.keys()]).toEqual(record.sent)
      },
    ),
    { ...runs, numRuns: 300 },
  )
})

describe('a refused batch', () => {
  test('of which every event is refused fails as a whole, and is frozen whole again', async () => {
    const game = { count: 8, batchSize: 4, refusedBefore: false, answer: () => rejected, kills: [] }
    const { end, stored, record } = await play(game)
    expect(end).toEqual({ kind: 'failed', setback: rejected })
    expect(stored).toMatchObject({ position: '0', frozen: ['4'], divided: undefined })
    expect(record).toEqual({ sent: [], dead: [] })
  })

  test('finds seven culprits among a thousand events with few requests', async () => {
    const poison = ids([3, 250, 251, 500, 640, 777, 1_000])
    const game = { count: 1_000, batchSize: 250, refusedBefore: false, answer: refusing(poison), kills: [] }
    const { record, requests } = await play(game)
    expect(record.dead).toEqual(poison)
    expect(record.sent).toHaveLength(993)
    expect(requests.length).toBeLessThanOrEqual(4 + 7 * 2 * Math.log2(250))
  })

  test('of dead letters says nothing of the destination: they were refused before', async () => {
    const game = { count: 5, batchSize: 4, refusedBefore: true, answer: () => rejected, kills: [] }
    const { end, record } = await play(game)
    expect(end).toEqual({ kind: 'end' })
    expect(record.dead).toEqual(all(5))
  })

  test('whose refusal began before a kill ends after it, with what was accepted by then', async () => {
    // Its first half is accepted and settled; the kill comes when only the culprit is left.
    const game = {
      count: 4,
      batchSize: 4,
      refusedBefore: false,
      answer: refusing(ids([3, 4])),
      kills: [{ at: 8, after: false }],
    }
    const { end, record } = await play(game)
    expect(end).toEqual({ kind: 'end' })
    expect(record).toEqual({ sent: ids([1, 2]), dead: ids([3, 4]) })
  })
})

test('a bulk answer settles what was taken, and what stopped it decides', async () => {
  const retry: Outcome = { kind: 'retry', reason }
  const partial: Outcome = {
    kind: 'partial',
    refused: [
      { index: 1, outcome: { kind: 'rejected', reason } },
      { index: 3, outcome: retry },
    ],
  }
  const game = { count: 6, batchSize: 6, refusedBefore: false, answer: () => partial, kills: [] }
  const { end, stored, record } = await play(game)
  expect(end).toEqual({ kind: 'failed', setback: retry })
  expect(record).toEqual({ sent: ids([1, 3]), dead: ids([2]) })
  // What was taken beyond it is a piece of its own.
  expect(stored).toMatchObject({ position: '3', frozen: ['4', '6'] })
})
