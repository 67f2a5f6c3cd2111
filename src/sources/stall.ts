/**
 * Says who holds a horizon back when it stands still while rows wait.
 *
 *   moving ──rows wait and it does not move──▶ standing ──10 s──▶ stalled (said, then once a minute)
 *     ▲                                           │                  │
 *     └────────────── it moves, or no row waits ──┴── (said once) ───┘
 *
 * It asks beside the watching, which never waits for it: an answer that comes when the horizon has moved is
 * dropped, and an error is no error of the source.
 */
import { errorCode, isTransient } from '../db/availability.ts'
import type { Log } from '../telemetry/log.ts'
import type { Diagnosis } from './diagnosis.ts'
import type { Holder, HolderQuestion, Holders } from './holders.ts'
import type { Position } from './position.ts'
import type { Reader } from './reader.ts'
import type { Source } from './source.ts'

export interface StallPolicy {
  /** It stands still for so long before anybody is asked; also the pause after a question that led nowhere. */
  readonly afterMs: number
  /** Between two lines about one stall. */
  readonly againMs: number
}

/** Shorter than people notice a delay, longer than an ordinary transaction. */
export const stallPolicy: StallPolicy = { afterMs: 10_000, againMs: 60_000 }

/** A horizon that stands still. Instants are milliseconds of a clock that only grows. */
export interface Standing {
  readonly since: number
  readonly askAt: number
  /** It was in the log. */
  readonly said: boolean
}

export function stand(since: number, { afterMs }: StallPolicy): Standing {
  return { since, askAt: since + afterMs, said: false }
}

/** After a question, whose answer was put into the log or not. */
export function asked(standing: Standing, now: number, said: boolean, policy: StallPolicy): Standing {
  const pauseMs = said ? policy.againMs : policy.afterMs
  return { ...standing, askAt: now + pauseMs, said: standing.said || said }
}

/** What a look at the source came to. */
export interface Seen {
  readonly horizon: Position | undefined
  /** Rows wait beyond the horizon; undefined where only the table itself tells. */
  readonly waiting: boolean | undefined
  readonly heldBy: HolderQuestion
}

export interface Place {
  readonly source: Source
  readonly reader: Pick<Reader, 'hasRowsAfter'>
}

export interface StallDeps {
  readonly logType: string
  readonly log: Log
  readonly diagnosis: Diagnosis
  readonly policy: StallPolicy
  /** Milliseconds that only grow. */
  now(): number
}

export class StallWatch {
  readonly #deps: StallDeps
  #standing: Standing | undefined
  #horizon: Position | undefined
  /** Rows are known to wait. */
  #waiting = false
  /** A question is under way. */
  #asking = false
  #lookTimer: NodeJS.Timeout | undefined

  constructor(deps: StallDeps) {
    this.#deps = deps
  }

  /** For how long rows have waited for a horizon that does not move. */
  get stalledForMs(): number {
    const standing = this.#standing
    return standing && (this.#waiting || standing.said) ? this.#deps.now() - standing.since : 0
  }

  /** A look begins; if it does not come back, somebody has locked the table. */
  looks(place: Place): void {
    const { policy, now } = this.#deps
    const began = now()
    const ask = async () => {
      await this.#ask(this.#standing ?? stand(began, policy), place, {
        waiting: true,
        question: { kind: 'lock' },
      })
      if (this.#lookTimer === timer) arm(Math.max((this.#standing?.askAt ?? 0) - now(), policy.afterMs))
    }
    let timer: NodeJS.Timeout | undefined
    const arm = (ms: number) => {
      timer = setTimeout(() => void ask(), ms)
      this.#lookTimer = timer
    }
    arm(policy.afterMs)
  }

  looked(): void {
    clearTimeout(this.#lookTimer)
    this.#lookTimer = undefined
  }

  seen({ horizon, waiting, heldBy }: Seen, place: Place): void {
    const now = this.#deps.now()
    // A source that is looked up again begins at the horizon that it had, which is no move.
    const moved = horizon !== this.#horizon
    this.#horizon = horizon
    this.#waiting = waiting === true
    if (moved || waiting === false) this.#end(now)
    if (waiting === false) return
    this.#standing ??= stand(now, this.#deps.policy)
    if (now >= this.#standing.askAt) void this.#ask(this.#standing, place, { waiting, question: heldBy })
  }

  /** The source is not watched any more; what is under way says nothing. */
  stop(): void {
    this.looked()
    this.#standing = undefined
  }

  /** Never rejects. */
  async #ask(
    standing: Standing,
    { source, reader }: Place,
    { waiting, question }: { waiting: boolean | undefined; question: HolderQuestion },
  ): Promise<void> {
    if (this.#asking) return
    const { diagnosis, policy, now } = this.#deps
    const { since } = standing
    this.#standing = standing
    this.#asking = true
    try {
      const horizon = this.#horizon
      if (waiting === undefined && horizon !== undefined && !(await diagnosis.rowsWait(reader, horizon))) {
        // Rows begin to wait now at the earliest.
        if (this.#standing?.since === since) this.#end(now())
        return
      }
      const holders = await diagnosis.holders(source, question)
      this.#answered(since, holders)
    } catch (error) {
      this.#answered(since, isTransient(error) ? undefined : { problem: error })
    } finally {
      this.#asking = false
      const after = this.#standing
      if (after?.since === since && after.askAt <= now()) this.#standing = asked(after, now(), false, policy)
    }
  }

  #answered(since: number, answer: Holders | { readonly problem: unknown } | undefined): void {
    const { logType, log, policy, now } = this.#deps
    // It has moved while the question was under way, or is not watched any more.
    if (this.#standing?.since !== since || answer === undefined) return
    const at = now()
    this.#standing = asked(this.#standing, at, true, policy)
    log.emit('horizon.stalled', {
      log_type: logType,
      horizon: this.#horizon,
      stalled_for_ms: Math.round(at - since),
      ...('problem' in answer ? unknownHolder(answer.problem) : fieldsOf(answer)),
    })
  }

  #end(now: number): void {
    const { logType, log } = this.#deps
    const standing = this.#standing
    this.#standing = undefined
    if (!standing?.said) return
    log.emit('horizon.moved', {
      log_type: logType,
      horizon: this.#horizon,
      stalled_for_ms: Math.round(now - standing.since),
    })
  }
}

function unknownHolder(error: unknown) {
  const message = error instanceof Error ? error.message : String(error)
  return {
    holder: 'a transaction that could not be looked up',
    hint: `Looking it up failed: ${message} (${errorCode(error) ?? 'no code'}).`,
  }
}

function fieldsOf({ count, oldest, hiddenFrom }: Holders) {
  return {
    holder: nameOf(oldest),
    holders: count,
    holder_pid: oldest.pid,
    gid: oldest.gid,
    application_name: oldest.applicationName,
    user: oldest.user,
    database: oldest.database,
    client_address: oldest.clientAddress,
    backend_type: oldest.backendType,
    state: oldest.state,
    wait: oldest.wait,
    blocked_by: oldest.blockedBy.length > 0 ? oldest.blockedBy : undefined,
    lock: oldest.lock,
    transaction_started_at: oldest.startedAt,
    transaction_age_ms: oldest.ageMs,
    hint:
      hiddenFrom === undefined
        ? undefined
        : `This role may not see other roles' sessions in full: GRANT pg_read_all_stats TO ${hiddenFrom}.`,
  }
}

/** `pid 4711 (worker, app@billing, idle in transaction)` */
function nameOf({ pid, gid, applicationName, user, database, state }: Holder): string {
  const who = [user, database].filter((part) => part !== undefined).join('@')
  const about = [applicationName, who, state].filter((part) => part !== undefined && part !== '').join(', ')
  if (pid !== undefined) return about === '' ? `pid ${pid}` : `pid ${pid} (${about})`
  return gid === undefined ? 'a prepared transaction' : `the prepared transaction '${gid}' (${who})`
}
