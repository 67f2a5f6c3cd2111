/**
 * Finds statements of a pool whose answer will never come. A connection that was cut without a word (a firewall that
 * forgot it, a network that went away, a pooler that hangs) looks like one whose statement takes its time, and the
 * driver waits on it for ever. A deadline cannot tell the two apart: counting a backlog or waiting for a lock may take
 * minutes. The server can, so a statement that has been silent for a while is asked about on a fresh connection.
 *
 * A statement is *silent* → *suspect* (the server does not work on it) → *lost* (nor the next time it was asked):
 * then `onLost` gives the whole pool up, its statements fail as after any lost connection, and are tried again on new
 * ones. While nobody answers, nothing is judged: a new connection would be no better.
 */
import { sleep } from '../clock.ts'

export interface Suspect {
  /** Of the server process that the driver was told of; a pooler makes it up. */
  readonly pid: number
  readonly text: string
  /** Since it was sent. */
  readonly ageMs: number
}

export interface StatementWatchOptions {
  /** Those of `suspects` that the server does not work on. Rejects within bounded time when it does not answer. */
  lost(suspects: readonly Suspect[]): Promise<readonly Suspect[]>
  /** Something was lost. Gives up all statements that are under way. */
  onLost(): void
  /** Before it is asked about a statement. */
  readonly patienceMs?: number
  readonly everyMs?: number
  /** Both of these, in a hurry. */
  readonly hurriedMs?: number
  readonly now?: () => number
}

/** Two questions at this pace, and the pause before a new attempt, stay within 20 s of the network's return. */
const defaultPatienceMs = 8_000
const defaultEveryMs = 4_000
const defaultHurriedMs = 1_000
const hurriedLooks = 8
/**
 * On a link that is merely slow the server is done while the answer is still on its way. So that it arrives in the end,
 * each loss doubles the patience, and it goes back only after a while without one.
 */
const longestPatienceMs = 300_000
const forgetLossAfterMs = 600_000
/** Of a page of rows more has to come through, and each row shows that it does. */
const pagePatience = 4

interface Statement {
  readonly query: PromiseLike<unknown>
  readonly patience: number
  readonly sentAt: number
  heardAt: number
}

export class StatementWatch {
  readonly #options: StatementWatchOptions
  readonly #now: () => number
  readonly #statements = new Set<Statement>()
  #patienceMs: number
  #lossAt = Number.NEGATIVE_INFINITY
  #suspects: ReadonlySet<Statement> = new Set()

  constructor(options: StatementWatchOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
    this.#patienceMs = options.patienceMs ?? defaultPatienceMs
  }

  /** A statement is under way. Returns what to call for each row that arrives. */
  follow(query: PromiseLike<unknown>, kind: 'statement' | 'page' = 'statement'): () => void {
    const sentAt = this.#now()
    const patience = kind === 'page' ? pagePatience : 1
    const statement: Statement = { query, patience, sentAt, heardAt: sentAt }
    this.#statements.add(statement)
    const end = () => this.#statements.delete(statement)
    query.then(end, end)
    return () => {
      statement.heardAt = this.#now()
    }
  }

  /**
   * Another connection to the same server was cut without a word and its successor is answered: whoever is silent is
   * asked about at once, instead of when the patience ends. Never rejects.
   */
  async hurry(): Promise<void> {
    const lossAt = this.#lossAt
    const { hurriedMs = defaultHurriedMs } = this.#options
    // Some begin on a connection that is dead only after the first looks.
    for (let look = 0; look < hurriedLooks && this.#lossAt === lossAt; look++) {
      if (look > 0) await sleep(hurriedMs)
      await this.runOnce(hurriedMs)
    }
  }

  /** Until `signal` aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#options.everyMs ?? defaultEveryMs, signal)
      if (!signal.aborted) await this.runOnce()
    }
  }

  /** `patienceMs`: of all statements alike, where somebody is in a hurry. */
  async runOnce(patienceMs?: number): Promise<void> {
    this.#calmDown()
    const silent = this.#silent(patienceMs)
    const lost = silent.size === 0 ? [] : await this.#options.lost([...silent.values()]).catch(() => [])
    const pids = new Set(lost.map(({ pid }) => pid))
    // Some may have been answered meanwhile.
    const unworked = [...this.#silent(patienceMs)]
      .filter(([, { pid }]) => pids.has(pid))
      .map(([each]) => each)
    const again = unworked.some((each) => this.#suspects.has(each))
    this.#suspects = new Set(again ? [] : unworked)
    if (!again) return
    this.#lossAt = this.#now()
    this.#patienceMs = Math.min(this.#patienceMs * 2, longestPatienceMs)
    this.#options.onLost()
  }

  #calmDown(): void {
    if (this.#now() - this.#lossAt < forgetLossAfterMs) return
    this.#patienceMs = this.#options.patienceMs ?? defaultPatienceMs
  }

  /** At most one of each connection: others that were sent on it wait behind that one. */
  #silent(hurriedPatienceMs?: number): Map<Statement, Suspect> {
    const now = this.#now()
    const silent = new Map<Statement, Suspect>()
    const connections = new Set<number>()
    for (const each of this.#statements) {
      const { pid, text } = sentAs(each.query)
      // Without a process it waits for a connection.
      if (pid === undefined || connections.has(pid)) continue
      connections.add(pid)
      if (now - each.heardAt < (hurriedPatienceMs ?? this.#patienceMs * each.patience)) continue
      silent.set(each, { pid, text, ageMs: now - each.sentAt })
    }
    return silent
  }
}

/** The driver notes it on each statement that it has sent, and leaves it out of its types (postgres.js 3.4.9). */
function sentAs(query: object): { pid: number | undefined; text: string } {
  const { state, string } = query as { state?: { pid?: number | null } | null; string?: string }
  return { pid: state?.pid ?? undefined, text: string ?? '' }
}
