import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Lanes, type Seat } from '../../../src/delivery/lanes.ts'
import { runs } from './items.ts'

const lane = (seats: number) => ({ seats, bytes: 100 })
const sizes = { healthy: lane(2), failing: lane(1), aside: lane(1) }
const never = new AbortController().signal

test('any number of turns that read, read ahead, step aside, abort and leave all come to their end', async () => {
  const turn = fc.record({
    lane: fc.constantFrom('healthy' as const, 'failing' as const),
    pages: fc.array(fc.integer({ min: 1, max: 150 }), { maxLength: 4 }),
    ahead: fc.integer({ min: 1, max: 80 }),
    aside: fc.boolean(),
    aborted: fc.boolean(),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(turn, { maxLength: 12 }), fc.scheduler(), async (turns, scheduler) => {
      const lanes = new Lanes(sizes)
      let seated = 0
      let ended = 0
      const work = async ({ lane, pages, ahead, aside }: (typeof turns)[number], seat: Seat) => {
        seated += 1
        for (const bytes of pages) {
          await seat.reserve(bytes, never)
          await scheduler.schedule(Promise.resolve(), `${lane} reads`)
          await seat.reserve(ahead, never)
          if (aside) seat.stepAside()
          await scheduler.schedule(Promise.resolve(), `${lane} sends`)
          seat.hold(0)
        }
        seat.leave()
      }
      const all = turns.map(async (each) => {
        const abort = new AbortController()
        const entering = lanes.enter(each.lane, abort.signal)
        if (each.aborted) abort.abort(new Error('stopping'))
        const seat = await entering.catch(() => undefined)
        if (seat) await work(each, seat)
        ended += 1
      })
      await scheduler.waitFor(Promise.all(all))
      expect(ended).toBe(turns.length)
      expect(seated).toBeLessThanOrEqual(turns.length)
      // All seats and bytes are back.
      const last = await Promise.all([lanes.enter('healthy', never), lanes.enter('healthy', never)])
      expect(await last[0].reserve(sizes.healthy.bytes, never)).toBe(true)
      expect(last[0].contended).toBe(false)
    }),
    { ...runs, numRuns: 300 },
  )
})
