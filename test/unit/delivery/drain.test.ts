/**
 * A drain from its first page to its end: whatever order pages, writes and answers come in, whatever is answered, whoever
 * else waits, and wherever it is killed.
 */
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EncodedBatch, Outcome } from '../../../providers/provider.ts'
import { systemClock } from '../../../src/clock.ts'
import type { Condition } from '../../../src/delivery/condition.ts'
import type { CursorMove } from '../../../src/delivery/cursor-move.ts'
import { CursorWriter } from '../../../src/delivery/cursor-writer.ts'
import { Drain } from '../../../src/delivery/drain.ts'
import { Lanes } from '../../../src/delivery/lanes.ts'
import { Progress } from '../../../src/delivery/progress.ts'
import { RateLimit } from '../../../src/delivery/rate-limit.ts'
import type { Reporter } from '../../../src/delivery/reporter.ts'
import { Stream } from '../../../src/delivery/stream.ts'
import type { Destination } from '../../../src/destinations/destination.ts'
import type { ReadRow } from '../../../src/sources/page.ts'
import type { Reader } from '../../../src/sources/reader.ts'
import { noTracing } from '../../../src/telemetry/tracing.ts'
import { roomy, rules, runs } from './items.ts'

class Killed extends Error {}

interface Game {
  readonly count: number
  readonly batchSize: number
  readonly pageRows: number
  readonly maxInFlight: number
  readonly maxCatchupBatches: number
  /** Rows that are refused whenever they are sent; not the last one, behind which nothing could speak for the destination. */
  readonly poisoned: readonly number[]
  /** Requests, by their number, that are answered with 503. */
  readonly failing: readonly number[]
  /** At which of the looks at it another destination waits. */
  readonly contended: readonly number[] | 'always'
  /** Pieces of work, by their number, at which the process is killed. */
  readonly kills: readonly number[]
}

const { signal } = new AbortController()
const size = { seats: 1, bytes: 10_000_000 }
const poison: Outcome = { kind: 'rejected', reason: { code: 'http_status', status: 422, message: 'no' } }
const retry: Outcome = { kind: 'retry', reason: { code: 'http_status', status: 503, message: 'later' } }

/** Plays turns and lives until all is settled. `order` decides what ends first of all that is under way. */
async function play(game: Game, order: <T>(work: Promise<T>) => Promise<T>) {
  const { count, batchSize, pageRows, maxInFlight, maxCatchupBatches } = game
  const stored = {
    position: '0',
    frozen: [] as readonly string[],
    accepted: 0,
    dead: [] as string[],
  }
  let divided: CursorMove['divided']
  /** What is stored once all that is dispatched has been carried out. */
  let ahead: Pick<CursorMove, 'frozen'> = stored
  const underWayAtDatabase = new Set<Promise<void>>()
  const requests: { batch: EncodedBatch; bodies: string; outcome: Outcome; life: number }[] = []
  /** Requests of each turn. */
  const turns: number[] = []
  /** Requests that did not wait until what went before them was stored. */
  let sentBeside = 0
  let pieces = 0
  let life = 0
  /** Does a piece of work that takes its time, unless its process is killed before it or has been killed. */
  const guarded = async <T>(mine: number, work: () => T): Promise<T> => {
    await order(Promise.resolve())
    pieces += 1
    if (game.kills.includes(pieces)) life += 1
    if (mine !== life) throw new Killed()
    return work()
  }

  /** One process: turns until everything is settled, or it is killed. */
  async function live(mine: number): Promise<void> {
    // A lease has to run out before another process begins.
    await Promise.all(underWayAtDatabase)
    const reader = {
      readPage: (
        _: unknown,
        range: { after: string; upTo: string },
        limit: { rows: number },
        make: (row: ReadRow) => unknown,
      ) =>
        guarded(mine, () => {
          const first = Number(range.after) + 1
          const most = Math.min(limit.rows, pageRows)
          const wanted = Array.from({ length: most }, (_, index) => first + index).filter(
            (id) => id <= Number(range.upTo),
          )
          const rows = wanted.map((id) => {
            const event = { id: `request:${id}`, logType: 'request', timestamp: '', timestampMs: 0 }
            return make({ position: String(id), event: { ...event, orgId: null, dataJson: `{"n":${id}}` } })
          })
          return { rows, last: wanted.at(-1)?.toString(), full: wanted.length >= most, oldest: '1' }
        }),
    }
    let writing = 0
    const store = {
      lease: { shard: 0, owner: '', epoch: '1', isHeld: true },
      async move(move: CursorMove, onDispatched?: () => void) {
        writing += 1
        expect(writing, 'writes at once').toBe(1)
        await guarded(mine, () => {
          ahead = move
        })
        // From here on it is carried out, whatever becomes of the process.
        const carriedOut = order(Promise.resolve()).then(() => {
          expect([stored.position, stored.frozen]).toEqual([move.from, move.fromFrozen])
          Object.assign(stored, { position: move.to, frozen: move.frozen })
          divided = move.divided
          stored.accepted += move.accepted
          stored.dead.push(...move.deadLetters.map(({ eventId }) => eventId))
          underWayAtDatabase.delete(carriedOut)
        })
        underWayAtDatabase.add(carriedOut)
        onDispatched?.()
        await carriedOut
        await guarded(mine, () => {})
        writing -= 1
      },
    }
    let underWay = 0
    const sender = {
      async send(batch: EncodedBatch) {
        // I4: its end is stored before it is sent.
        const end = batch.events.at(-1)?.id.split(':')[1] ?? ''
        if (mine === life) expect(stored.frozen).toContain(end)
        // What went before it is being settled: a kill repeats one batch. Only a search for what is refused leaves some behind.
        const isPlain = maxInFlight === 1 && game.poisoned.length === 0
        if (mine === life && isPlain) expect(ahead.frozen[0], 'settled before').toBe(end)
        if (stored.frozen[0] !== end) sentBeside += 1
        underWay += 1
        expect(underWay, 'requests at once').toBeLessThanOrEqual(maxInFlight)
        expect(drain.isSending, 'knows that it waits').toBe(true)
        const outcome = await guarded(mine, () => {
          const ids = batch.events.map(({ id }) => Number(id.split(':')[1]))
          const outcome = game.failing.includes(requests.length)
            ? retry
            : ids.some((id) => id < count && game.poisoned.includes(id))
              ? poison
              : ({ kind: 'accepted' } as const)
          requests.push({
            batch,
            bodies: batch.events.map(({ body }) => String(body)).join(),
            outcome,
            life: mine,
          })
          return outcome
        }).finally(() => (underWay -= 1))
        return outcome
      },
      async close() {},
    }
    const delivery = { batchSize, maxInFlight, maxCatchupBatches, interBatchDelayMs: 0 }
    const destination = {
      id: 1,
      type: 'http',
      configured: { framing: {} },
      delivery,
    } as unknown as Destination
    const reporter = { delivered() {}, skipped() {}, deadLettered() {} } as unknown as Reporter
    // Failing: no second attempt within a second, which is another test's.
    const condition = { failing: true, consecutiveFailures: 0, accepted() {}, failed: async () => false }
    const progress = new Progress()
    const availability = { retry: <T>(work: () => Promise<T>) => work() }
    const writerDeps = { store, availability, reporter, progress, tracing: noTracing }
    const writer = new CursorWriter(1, writerDeps as never, signal)
    let looks = 0
    const seat = await new Lanes({ healthy: size, failing: size, aside: size }).enter('healthy', signal)
    const contended = Object.defineProperty(seat, 'contended', {
      get() {
        looks += 1
        return game.contended === 'always' || game.contended.includes(looks)
      },
    })
    const stream = new Stream({
      cursor: { life: 'a', position: stored.position, frozen: stored.frozen, ...(divided && { divided }) },
      orgId: null,
      source: {
        reader: reader as unknown as Reader,
        horizon: String(count),
        life: 1,
        oldest: '1',
        formerOldest: '1',
      },
      rules: rules({ batchSize, limits: roomy }),
      encode: ({ dataJson }) => dataJson,
      now: () => 0,
      oldestBefore: () => '1',
    })
    stream.wake()
    const drain = new Drain(destination, condition as unknown as Condition, {
      clock: systemClock,
      sender,
      writer,
      reporter,
      rate: new RateLimit({ ...delivery, maxEventsPerSecond: undefined } as never, systemClock),
      tracing: noTracing,
      stopping: signal,
      aborting: signal,
      streams: () => [stream],
    })
    while (stored.position !== String(count)) {
      expect(turns.length, 'turns').toBeLessThan(500)
      const before = requests.length
      expect(stream.awake, 'has something to do').toBe(true)
      let finished = false
      stream.begin()
      try {
        finished = await drain.run(stream, contended)
      } finally {
        if (finished) stream.rest()
        else stream.rewind()
      }
      turns.push(requests.length - before)
      expect(drain.isSending, 'knows that it waits for nothing').toBe(false)
      if (requests.length > before) expect(drain.answerMs, 'knows how long it waited').toBeGreaterThan(0)
    }
    expect(stored.frozen).toEqual([])
  }

  while (stored.position !== String(count)) {
    await live(life).catch((error) => {
      if (!(error instanceof Killed)) throw error
    })
  }
  return { stored, requests, turns, sentBeside }
}

const anyGame: fc.Arbitrary<Game> = fc.record({
  count: fc.integer({ min: 1, max: 120 }),
  batchSize: fc.integer({ min: 1, max: 9 }),
  pageRows: fc.integer({ min: 1, max: 40 }),
  maxInFlight: fc.integer({ min: 1, max: 4 }),
  maxCatchupBatches: fc.integer({ min: 1, max: 20 }),
  poisoned: fc.uniqueArray(fc.integer({ min: 1, max: 120 }), { maxLength: 3 }),
  failing: fc.uniqueArray(fc.integer({ min: 0, max: 40 }), { maxLength: 4 }),
  contended: fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 20 }),
  kills: fc.uniqueArray(fc.integer({ min: 1, max: 150 }), { maxLength: 3 }),
})

describe('whatever happens', () => {
  test('every row is settled once, delivered or as a dead letter, and no batch is sent before its end is stored', async () => {
    await fc.assert(
      fc.asyncProperty(anyGame, fc.scheduler(), async (game, scheduler) => {
        const playing = play(game, (work) => scheduler.schedule(work))
        const { stored, requests } = await scheduler.waitFor(playing)
        const accepted = requests.filter(({ outcome }) => outcome.kind === 'accepted')
        const delivered = new Set(accepted.flatMap(({ batch }) => batch.events.map(({ id }) => id)))
        const dead = new Set(stored.dead)
        const ids = Array.from({ length: game.count }, (_, index) => `request:${index + 1}`)
        expect(
          ids.filter((id) => !delivered.has(id) && !dead.has(id)),
          'lost',
        ).toEqual([])
        expect(stored.dead, 'dead letters').toEqual([...dead])
        expect(
          [...dead].filter((id) => !game.poisoned.includes(Number(id.split(':')[1]))),
          'wrongly dead',
        ).toEqual([])
        expect(stored.accepted, 'counted').toBe(game.count - dead.size)
        const bytesOf = new Map<string, string>()
        for (const { batch, bodies } of requests) {
          expect(bytesOf.get(batch.id) ?? bodies, 'equal ids, equal bytes').toBe(bodies)
          bytesOf.set(batch.id, bodies)
        }
        if (game.maxInFlight > 1 || game.poisoned.length > 0) return
        const again = accepted.filter(({ batch: { id } }, index) =>
          accepted.slice(index + 1).some(({ batch }) => batch.id === id),
        )
        const lives = again.map(({ life }) => life)
        expect(lives, 'repeats of a kill').toEqual([...new Set(lives)])
      }),
      { ...runs, numRuns: 200 },
    )
  }, 60_000)
})

const plain: Game = {
  count: 100,
  batchSize: 9,
  pageRows: 18,
  maxInFlight: 1,
  maxCatchupBatches: 20,
  poisoned: [],
  failing: [],
  contended: [],
  kills: [],
}
const inTurn = <T>(work: Promise<T>) => work

test('the next batch does not wait until it is stored that the one before was accepted', async () => {
  const slowly = async <T>(work: Promise<T>) => {
    await turn()
    return work
  }
  const { requests, sentBeside } = await play(plain, slowly)
  expect(requests).toHaveLength(12)
  expect(sentBeside).toBeGreaterThan(5)
})

test.each([1, 3])('where others wait, a turn sends no more than it may, %i at once', async (maxInFlight) => {
  const { turns } = await play({ ...plain, maxInFlight, maxCatchupBatches: 4, contended: 'always' }, inTurn)
  expect(turns).toEqual([4, 4, 4])
})

test.each([1, 2, 4])('where others begin to wait, a turn ends soon, %i at once', async (maxInFlight) => {
  for (let first = 1; first <= 6; first++) {
    const contended = Array.from({ length: 1_000 }, (_, index) => first + index)
    const { turns } = await play(
      { ...plain, pageRows: 100, maxInFlight, maxCatchupBatches: 4, contended },
      inTurn,
    )
    expect(turns[0], `from look ${first} on`).toBeLessThanOrEqual(first + 4)
  }
})
