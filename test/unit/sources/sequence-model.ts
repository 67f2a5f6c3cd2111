/** A server in miniature: transactions that draw ids from one sequence, and what a fence's statement sees of them. */
import fc from 'fast-check'
import type { Holder, Observation } from '../../../src/sources/horizon.ts'

export type Step =
  | { readonly do: 'begin' }
  | { readonly do: 'draw' | 'commit' | 'rollBack' | 'prepare'; readonly which: number }
  | { readonly do: 'restart' }

/** A step of the server, or a look at it with steps between its snapshot and its reading of the locks. */
export type Event =
  | Step
  | { readonly do: 'observe'; readonly between: readonly Step[]; readonly fence: boolean }

interface Transaction {
  name: string
  prepared: boolean
  readonly ids: number[]
}

export class SequenceModel {
  readonly #renamesPrepared: boolean
  #transactions: Transaction[] = []
  #lastId = 0
  #names = 0
  #restored = 700
  readonly #committed = new Set<number>()

  /** `renamesPrepared`: as older servers do, a prepared transaction gets another name. */
  constructor(renamesPrepared: boolean) {
    this.#renamesPrepared = renamesPrepared
  }

  get highest(): number {
    return Math.max(0, ...this.#committed)
  }

  get open(): number {
    return this.#transactions.length
  }

  /** The lowest id that may still appear. */
  get lowestOutstanding(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.#transactions.flatMap(({ ids }) => ids))
  }

  run(step: Step): void {
    if (step.do === 'begin') {
      this.#names += 1
      this.#transactions.push({
        name: `${this.#names % 3}/${Math.ceil(this.#names / 3)}`,
        prepared: false,
        ids: [],
      })
    } else if (step.do === 'restart') {
      this.#restart()
    } else {
      const transaction = this.#transactions[step.which % Math.max(1, this.#transactions.length)]
      if (transaction) this.#act(step.do, transaction)
    }
  }

  observe(between: readonly Step[]): Observation {
    const highest = String(this.highest)
    for (const step of between) this.run(step)
    const holders = this.#transactions.flatMap(({ name, prepared, ids }): Holder[] =>
      ids.length > 0 ? [{ transaction: name, prepared }] : [],
    )
    return { highest, holders }
  }

  #act(what: 'draw' | 'commit' | 'rollBack' | 'prepare', transaction: Transaction): void {
    if (what === 'draw') {
      if (!transaction.prepared) transaction.ids.push(++this.#lastId)
    } else if (what === 'prepare') {
      if (transaction.prepared) return
      transaction.prepared = true
      if (this.#renamesPrepared) transaction.name = this.#restoredName()
    } else {
      if (what === 'commit') for (const id of transaction.ids) this.#committed.add(id)
      this.#transactions = this.#transactions.filter((other) => other !== transaction)
    }
  }

  /** Only what was prepared survives, under another name; names of sessions begin anew. */
  #restart(): void {
    this.#transactions = this.#transactions.filter(({ prepared }) => prepared)
    for (const transaction of this.#transactions) transaction.name = this.#restoredName()
    this.#names = 0
  }

  #restoredName(): string {
    this.#restored += 1
    return `-1/${this.#restored}`
  }
}

const which = fc.nat(7)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.constant({ do: 'begin' as const }) },
  { weight: 16, arbitrary: fc.record({ do: fc.constant('draw' as const), which }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constantFrom('commit' as const, 'rollBack' as const), which }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('prepare' as const), which }) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
)

export const history: fc.Arbitrary<Event[]> = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: step },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('observe' as const),
        between: fc.array(step, { maxLength: 3 }),
        fence: fc.boolean(),
      }),
    },
  ),
  { minLength: 20, maxLength: 120, size: 'max' },
)
