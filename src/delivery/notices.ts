/**
 * When people should be told that a destination goes on failing: once when it becomes unhealthy, and as its backlog
 * comes closer to the age at which it is given up. Pure; what was told is known to this process only, so a restart
 * in between tells nothing twice that lies before the last failure on record.
 */
import type { Health } from './decide.ts'

export interface NoticeRules {
  /** Unhealthy after this many failures in a row, or after failing for this long. */
  readonly unhealthyAfterFailures: number
  readonly unhealthyAfterMs: number
  readonly maxBacklogAgeMs: number
  readonly onBacklogExpiry: 'skip' | 'hold'
}

export type Notice =
  | { readonly kind: 'unhealthy'; readonly failingForMs: number }
  | {
      readonly kind: 'expiring'
      readonly percent: number
      readonly expiresAt: number
      readonly onExpiry: 'skip' | 'hold'
      readonly failingForMs: number
    }

/** Of the backlog's maximum age. */
const percents = [50, 75, 90]

type Failing = Pick<Health, 'consecutiveFailures' | 'firstFailedAt' | 'lastErrorAt'>

export class Notices {
  readonly #rules: NoticeRules
  #toldUnhealthy = false
  #toldPercent = 0

  constructor(rules: NoticeRules, health: Failing) {
    this.#rules = rules
    // What was due when the last failure was recorded has been told then.
    if (health.lastErrorAt !== undefined) this.due(health, health.lastErrorAt)
  }

  /** What has become due by `now`, each once. */
  due(health: Failing, now: number): Notice[] {
    const { firstFailedAt } = health
    if (firstFailedAt === undefined) return []
    const failingForMs = now - firstFailedAt
    const notices: Notice[] = []
    if (!this.#toldUnhealthy && this.#isUnhealthy(health, failingForMs)) {
      this.#toldUnhealthy = true
      notices.push({ kind: 'unhealthy', failingForMs })
    }
    const percent = percents.findLast((each) => failingForMs >= this.#ageAt(each)) ?? 0
    if (percent > this.#toldPercent) {
      this.#toldPercent = percent
      const expiresAt = firstFailedAt + this.#rules.maxBacklogAgeMs
      // Past its end there is nothing to warn of any more.
      if (now < expiresAt)
        notices.push({
          kind: 'expiring',
          percent,
          expiresAt,
          onExpiry: this.#rules.onBacklogExpiry,
          failingForMs,
        })
    }
    return notices
  }

  /** Milliseconds until the next one becomes due by time alone. */
  nextInMs({ firstFailedAt }: Failing, now: number): number | undefined {
    if (firstFailedAt === undefined) return undefined
    const next = percents.find((each) => each > this.#toldPercent)
    const ages = [
      ...(this.#toldUnhealthy ? [] : [this.#rules.unhealthyAfterMs]),
      ...(next === undefined ? [] : [this.#ageAt(next)]),
    ]
    return ages.length === 0 ? undefined : Math.max(0, firstFailedAt + Math.min(...ages) - now)
  }

  recovered(): void {
    this.#toldUnhealthy = false
    this.#toldPercent = 0
  }

  /** The backlog was given up; what comes after it has an age of its own. */
  abandoned(): void {
    this.#toldPercent = 0
  }

  #isUnhealthy({ consecutiveFailures }: Failing, failingForMs: number): boolean {
    const { unhealthyAfterFailures, unhealthyAfterMs } = this.#rules
    return consecutiveFailures >= unhealthyAfterFailures || failingForMs >= unhealthyAfterMs
  }

  #ageAt(percent: number): number {
    return (this.#rules.maxBacklogAgeMs * percent) / 100
  }
}
