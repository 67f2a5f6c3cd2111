import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Outcome } from '../../../providers/provider.ts'
import { type Batch, cutBatch } from '../../../src/delivery/batch.ts'
import { Halving } from '../../../src/delivery/halving.ts'
import { items, rules, runs } from './items.ts'
import { partial, rejected, retry } from './outcomes.ts'

/** What an endpoint does with a request, beyond refusing culprits: judge each event, fail, or be killed beside us. */
type Mood = 'whole' | 'judging' | 'failing' | 'accepted and killed' | 'killed'

const size = 24
const anyCulprits = fc.uniqueArray(fc.integer({ min: 1, max: size }), { maxLength: size - 1 })
const anyMoods = fc.array(
  fc.constantFrom<Mood>('whole', 'whole', 'judging', 'failing', 'accepted and killed', 'killed'),
  {
    maxLength: 40,
  },
)
const anyEnds = fc.uniqueArray(fc.integer({ min: 1, max: size }), { minLength: 1, maxLength: 4 })

/**
 * The drain's loop without its I/O. What a crash or a failure leaves is the cursor and the frozen ends; everything else is
 * read again. A batch that is wholly refused is looked beyond the second time.
 */
class Life {
  cursor = 0
  frozen: number[]
  readonly dead = new Set<number>()
  readonly accepted: number[] = []
  readonly bodies = new Map<string, string>()
  requests = 0
  #refused: string | undefined

  constructor(ends: readonly number[]) {
    this.frozen = [...new Set([...ends, size])].sort((a, b) => a - b)
  }

  get isOver(): boolean {
    return this.cursor === size
  }

  run(answer: (numbers: readonly number[]) => Outcome | 'killed'): void {
    const batches = this.#cut()
    const isAgain = batches[0]?.id === this.#refused
    const halving = new Halving(batches, { looksBeyond: isAgain, probes: Number.POSITIVE_INFINITY })
    while (halving.next) {
      const batch = halving.next
      // Equal ids mean equal bytes, over all lives (I4).
      const body = batch.events.map(({ body }) => body).join()
      expect(this.bodies.get(batch.id) ?? body).toBe(body)
      this.bodies.set(batch.id, body)
      this.requests += 1
      const outcome = answer(batch.positions.map(Number))
      if (outcome === 'killed') return
      const { settlement, failure } = halving.take(outcome)
      for (const { eventId } of settlement?.deadLetters ?? []) this.dead.add(Number(eventId.split(':')[1]))
      if (settlement) this.cursor = Number(settlement.to)
      if (halving.needsMore) halving.add([])
      const wrong = halving.verdict !== undefined
      if (wrong) this.#refused = halving.restored[0]?.id
      this.#freeze(wrong ? halving.restored : halving.unsettled)
      if (failure || wrong) return
    }
  }

  #cut(): Batch[] {
    let from = this.cursor
    return this.frozen.map((end) => {
      const rows = items(size).slice(from, end)
      const { batch } = cutBatch(rows, 0, String(from), String(end), rules(), 0)
      from = end
      return batch
    })
  }

  #freeze(batches: readonly Batch[]): void {
    // They follow each other from the cursor on, without a gap.
    expect([this.cursor, ...batches.map(({ to }) => Number(to))].slice(0, -1)).toEqual(
      batches.map(({ from }) => Number(from)),
    )
    this.frozen = batches.map(({ to }) => Number(to))
  }
}

test('whatever is refused, judged, failed or killed on the way, every event is accepted or a dead letter', () => {
  fc.assert(
    fc.property(anyCulprits, anyMoods, anyEnds, (culprits, moods, ends) => {
      const life = new Life(ends)
      const script = [...moods]
      const answer = (numbers: readonly number[]): Outcome | 'killed' => {
        const mood = script.shift() ?? 'whole'
        const bad = numbers.flatMap((number, index) =>
          culprits.includes(number) ? [{ index, outcome: rejected }] : [],
        )
        if (mood === 'killed') return 'killed'
        if (mood === 'failing') return retry
        if (bad.length > 0 && mood !== 'judging') return mood === 'whole' ? rejected : 'killed'
        life.accepted.push(...numbers.filter((number) => !culprits.includes(number)))
        if (mood === 'accepted and killed') return 'killed'
        return bad.length > 0 ? partial(...bad) : { kind: 'accepted' }
      }
      // A last batch of poisoned events alone is the destination's fault, until something comes after it.
      const isStuck = () =>
        Array.from({ length: size - life.cursor }, (_, at) => life.cursor + 1 + at).every((n) =>
          culprits.includes(n),
        )
      for (let turn = 0; turn < 200 && !life.isOver && !isStuck(); turn += 1) life.run(answer)
      expect(life.isOver || isStuck()).toBe(true)
      const settled = Array.from({ length: life.cursor }, (_, index) => index + 1)
      const isRight = (number: number) => {
        const isCulprit = culprits.includes(number)
        return life.dead.has(number) === isCulprit && life.accepted.includes(number) === !isCulprit
      }
      expect(settled.filter((number) => !isRight(number))).toEqual([])
      expect(life.requests).toBeLessThan(60 * size)
    }),
    { ...runs, numRuns: 500 },
  )
})

test('without failures every event arrives once, in order', () => {
  fc.assert(
    fc.property(anyCulprits, (culprits) => {
      const life = new Life([size])
      life.run((numbers) => {
        if (numbers.some((number) => culprits.includes(number))) return rejected
        life.accepted.push(...numbers)
        return { kind: 'accepted' }
      })
      const good = Array.from({ length: size }, (_, index) => index + 1).filter(
        (each) => !culprits.includes(each),
      )
      expect(life.accepted).toEqual(good)
      expect(life.dead).toEqual(new Set(culprits))
    }),
    { ...runs, numRuns: 300 },
  )
})
