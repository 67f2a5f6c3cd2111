/** Keeps the display up to date until a scene is over. */
import { sleep } from '../../clock.ts'
import type { Sql } from '../../db/client.ts'
import type { Account } from './accounting.ts'
import type { Display } from './display.ts'
import type { LogLines } from './log-lines.ts'
import type { NaiveReader } from './naive.ts'
import type { DestinationMoment, Moment } from './screen.ts'
import type { Writer } from './writer.ts'

interface StageDeps {
  readonly sql: Sql
  readonly accounts: readonly Account[]
  readonly naive: NaiveReader
  readonly writer: Writer
  readonly log: LogLines
  readonly display: Display
  readonly limitMs: number | undefined
}

/** How often the end of a scene is looked for. */
const lookMs = 50
/** Rows per second are those of this time. */
const rateWindowMs = 2_000

interface StateRow {
  readonly name: string
  readonly status: string
  readonly next_attempt_at: Date | null
}

export class Stage {
  readonly #deps: StageDeps
  readonly #began = performance.now()
  readonly #samples: { readonly at: number; readonly rows: number }[] = []
  #nextShowAt = 0

  constructor(deps: StageDeps) {
    this.#deps = deps
  }

  /** Until `isOver` says so or `signal` aborts. */
  async play(phase: Moment['phase'], signal: AbortSignal, isOver: () => boolean): Promise<void> {
    while (!signal.aborted && !isOver()) {
      if (performance.now() >= this.#nextShowAt) {
        this.#nextShowAt = performance.now() + this.#deps.display.redrawMs
        await this.#show(phase)
      }
      await sleep(lookMs, signal)
    }
    await this.#show(phase)
  }

  async #show(phase: Moment['phase']): Promise<void> {
    const { accounts, display, limitMs, log, naive, sql, writer } = this.#deps
    const states = await sql<StateRow[]>`
      SELECT d.name, s.status, s.next_attempt_at
      FROM spillway.delivery_state s JOIN spillway.destinations d ON d.id = s.destination_id`
    const stateOf = new Map(states.map((state) => [state.name, state]))
    display.show({
      phase,
      elapsedMs: performance.now() - this.#began,
      limitMs,
      now: Date.now(),
      rows: naive.written,
      rowsPerSecond: this.#rate(naive.written),
      open: writer.open,
      rolledBack: writer.rolledBack,
      destinations: accounts.map((account) => momentOf(account, stateOf.get(account.plan.name))),
      naiveLost: naive.lost,
      log: log.lines,
    })
  }

  #rate(rows: number): number {
    const now = performance.now()
    this.#samples.push({ at: now, rows })
    while ((this.#samples[1]?.at ?? now) < now - rateWindowMs) this.#samples.shift()
    const [first] = this.#samples
    if (first === undefined || now === first.at) return 0
    return Math.round(((rows - first.rows) * 1_000) / (now - first.at))
  }
}

function momentOf(account: Account, state: StateRow | undefined): DestinationMoment {
  const { plan, written, delivered, behind, last } = account
  return {
    name: plan.name,
    org: plan.org,
    written,
    delivered,
    behind,
    status: state?.status ?? 'unknown',
    nextAttemptAt: state?.next_attempt_at ?? null,
    last,
  }
}
