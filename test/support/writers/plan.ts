/**
 * What writers do, as applications do it at their worst. A plan is a pure function of its random numbers: a
 * seed names it. What of it commits is up to the locks it meets; afterwards the table says so.
 */
import { type NewRow, periods, type Variant } from '../audit-table.ts'
import { pick, type Random } from '../random.ts'

export type Step =
  | { readonly kind: 'pause'; readonly ms: number }
  /** `straight` into the rows' partition, past the parent; all rows belong to one then. */
  | {
      readonly kind: 'insert' | 'select' | 'copy'
      readonly rows: readonly NewRow[]
      readonly straight: boolean
    }
  /** Takes the next row's place in the order; the row comes later. */
  | { readonly kind: 'draw' }
  | { readonly kind: 'insertDrawn'; readonly row: NewRow }
  | { readonly kind: 'savepoint'; readonly steps: readonly Step[]; readonly rolledBack: boolean }
  | { readonly kind: 'lock'; readonly mode: string }

export interface Transaction {
  readonly steps: readonly Step[]
  readonly ending: 'commit' | 'rollback' | 'commit prepared' | 'rollback prepared'
  /** How long it stays prepared. */
  readonly preparedMs: number
}

/** The kinds of things that a transaction does, for counting them. */
export function deedsOf({ steps, ending }: Transaction): string[] {
  return [ending, ...stepsOf(steps)]
}

function stepsOf(steps: readonly Step[]): string[] {
  return steps.flatMap((step) => {
    if (step.kind === 'pause') return step.ms >= shortestLongPauseMs ? ['held open'] : []
    if (step.kind === 'savepoint') {
      return [step.rolledBack ? 'savepoint rolled back' : 'savepoint released', ...stepsOf(step.steps)]
    }
    return 'straight' in step && step.straight ? [`${step.kind} into partition`] : [step.kind]
  })
}

export interface PlanOptions {
  /** Tells the keys of one writer from those of others. */
  readonly writer: string
  readonly variant: Variant
  readonly orgs: readonly [string | null, ...(string | null)[]]
  /** Of the usual pauses, most of which are much shorter. */
  readonly longestPauseMs: number
}

const shortestLongPauseMs = 1_000
const lockModes = ['SHARE', 'SHARE ROW EXCLUSIVE', 'EXCLUSIVE', 'ACCESS EXCLUSIVE'] as const

/** What an unusual key may hold. The last two sort one way by UTF-8 bytes and the other by UTF-16 units. */
const keyCharacters = [
  ...['a', 'B', 'b', 'Z', '0', '9', '-', '_', ':', '/', '.', '%', '~', ' ', ',', '"', "'", '\\', '{', '}'],
  ...['\t', '\n', 'é', 'ß', '中', '\u{ff5e}', '\u{1f600}'],
] as const as readonly [string, ...string[]]

/** As many transactions as are asked for. */
export function* plan(random: Random, options: PlanOptions): Generator<Transaction, never> {
  const { variant, orgs, longestPauseMs } = options
  let count = 0

  const below = (limit: number) => Math.floor(random() * limit)
  const chance = (probability: number) => random() < probability
  const hex = (digits: number) => Array.from({ length: digits }, () => below(16).toString(16)).join('')

  function key(): string | null {
    if (variant.key === 'bigint') return null
    if (variant.key === 'uuid') return `${hex(8)}-${hex(4)}-${hex(4)}-${hex(4)}-${hex(12)}`
    const text = Array.from({ length: below(12) }, () => pick(random, keyCharacters)).join('')
    return `${text}${options.writer}.${count}`
  }

  function row(org = pick(random, orgs), at: string = pick(random, periods)): NewRow {
    count += 1
    return { key: key(), org, at, note: `${options.writer} row ${count}, with \\ and\ta tab` }
  }

  function insertion(): Step {
    const straight = chance(0.3)
    const like = row()
    const number = chance(0.4) ? 1 : 2 + below(20)
    const more = Array.from({ length: number - 1 }, () => (straight ? row(like.org, like.at) : row()))
    return { kind: pick(random, ['insert', 'select', 'copy']), rows: [like, ...more], straight }
  }

  const pause = (): Step => ({ kind: 'pause', ms: Math.round(random() ** 3 * longestPauseMs) })
  const longPause = (): Step => ({ kind: 'pause', ms: shortestLongPauseMs + below(1_500) })

  /** The place is drawn long before the row, at times in a savepoint that is rolled back. */
  function drawnEarly(): Step[] {
    const draw: Step = { kind: 'draw' }
    const drawn: Step = chance(0.3) ? { kind: 'savepoint', steps: [draw], rolledBack: true } : draw
    return [drawn, pause(), pause(), { kind: 'insertDrawn', row: row() }]
  }

  function deed(): Step[] {
    const kind = random()
    if (kind < 0.3) return drawnEarly()
    if (kind < 0.5) {
      const steps = [insertion(), ...(chance(0.3) ? drawnEarly() : [])]
      return [{ kind: 'savepoint', steps, rolledBack: chance(0.7) }]
    }
    return [insertion()]
  }

  function transaction(): Transaction {
    const steps = [...deed(), pause(), ...(chance(0.3) ? deed() : []), pause()]
    const fate = random()
    if (fate < 0.07) {
      // Nobody may hold it for long. Before the lock at most a place is drawn, or two would block each other.
      const lock: Step = { kind: 'lock', mode: pick(random, lockModes) }
      const early: Step[] = chance(0.5) ? [{ kind: 'draw' }, pause(), lock] : [lock]
      return {
        steps: [...early, ...deed(), pause()],
        ending: chance(0.2) ? 'rollback' : 'commit',
        preparedMs: 0,
      }
    }
    const preparedMs = 100 + below(2_500)
    if (fate < 0.11)
      return { steps, ending: chance(0.3) ? 'rollback prepared' : 'commit prepared', preparedMs }
    return {
      steps: fate < 0.14 ? [...steps, longPause()] : steps,
      ending: chance(0.2) ? 'rollback' : 'commit',
      preparedMs,
    }
  }

  for (;;) yield transaction()
}
