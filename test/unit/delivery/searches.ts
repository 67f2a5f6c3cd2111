/** Runs a search for culprits against an endpoint that is a function. */
import type { Outcome } from '../../../providers/provider.ts'
import { type Batch, cutBatch } from '../../../src/delivery/batch.ts'
import type { Halving, Step } from '../../../src/delivery/halving.ts'
import { items, rules } from './items.ts'
import { rejected } from './outcomes.ts'

/** Batches of `sizes` that follow each other: events `request:1`, `request:2`, … at positions 1, 2, … */
export function batches(...sizes: number[]): Batch[] {
  const rows = items(sizes.reduce((sum, size) => sum + size, 0))
  let start = 0
  return sizes.map((size) => {
    const { batch } = cutBatch(
      rows,
      start,
      String(start),
      String(start + size),
      rules({ batchSize: size }),
      0,
    )
    start += size
    return batch
  })
}

export type Endpoint = (numbers: readonly number[]) => Outcome

export function search(halving: Halving, answer: Endpoint) {
  const asked: string[] = []
  const steps: Step[] = []
  const accepted = new Set<number>()
  let to = '0'
  while (halving.next && !halving.verdict) {
    const numbers = halving.next.positions.map(Number)
    asked.push(numbers.length === 1 ? `${numbers[0]}` : `${numbers[0]}-${numbers.at(-1)}`)
    const outcome = answer(numbers)
    if (outcome.kind === 'accepted') for (const number of numbers) accepted.add(number)
    const step = halving.take(outcome)
    steps.push(step)
    to = step.settlement?.to ?? to
    if (step.failure) break
  }
  const dead = steps.flatMap(({ settlement }) => settlement?.deadLetters.map(({ eventId }) => eventId) ?? [])
  return { asked, steps, dead, to, accepted: [...accepted].sort((a, b) => a - b) }
}

/** Takes everything but batches with one of these in them. */
export function refusing(...culprits: number[]): Endpoint {
  return (numbers) => (numbers.some((number) => culprits.includes(number)) ? rejected : { kind: 'accepted' })
}
