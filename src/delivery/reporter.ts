/**
 * What the log says about one destination: every delivered batch at debug, a summary at info at most every
 * 30 s, the first failure, then one at most every 30 s, then one line when it has recovered. What is kept back is
 * counted all the same.
 */
import type { Reason } from '../../providers/provider.ts'
import type { Clock } from '../clock.ts'
import type { Destination } from '../destinations/destination.ts'
import type { Log } from '../telemetry/log.ts'
import { type Failing, fail, LOG_AGAIN_MS } from '../telemetry/throttle.ts'
import type { Batch, DeadLetter, SkippedRange } from './batch.ts'
import type { FailureKind, Health } from './decide.ts'
import type { Notice } from './notices.ts'
import type { Settlement } from './settlement.ts'

export interface LoggedRange extends SkippedRange {
  readonly logType: string
}

export class Reporter {
  readonly #log: Log
  readonly #clock: Clock
  readonly #who: { destination_id: number; name: string; type: string; org: string | null }
  #failing: Failing | undefined
  #erring: Failing | undefined
  #cancelled: Failing | undefined
  #unauthorized = false
  #saidFailed = false
  #delivered = { events: 0, batches: 0, bytes: 0 }
  #summedSince: number
  #lastSummary: number | undefined
  #summaryTimer: NodeJS.Timeout | undefined

  constructor(log: Log, clock: Clock, destination: Pick<Destination, 'id' | 'name' | 'type' | 'orgId'>) {
    this.#log = log
    this.#clock = clock
    this.#who = {
      destination_id: destination.id,
      name: destination.name,
      type: destination.type,
      org: destination.orgId,
    }
    this.#summedSince = clock.monotonic()
  }

  delivered(batch: Batch, { accepted, to }: Settlement, durationMs: number): void {
    this.#log.emit('batch.delivered', {
      ...this.#who,
      log_type: batch.logType,
      batch_id: batch.id,
      events: accepted,
      bytes: batch.bytes,
      from: batch.positions[0] ?? batch.from,
      to,
      duration_ms: Math.round(durationMs),
    })
    this.#delivered.events += accepted
    this.#delivered.batches += 1
    this.#delivered.bytes += batch.bytes
    const summariseAt = this.#lastSummary === undefined ? 0 : this.#lastSummary + LOG_AGAIN_MS
    const waitMs = summariseAt - this.#clock.monotonic()
    if (waitMs <= 0) this.summarise()
    else this.#summaryTimer ??= setTimeout(() => this.summarise(), waitMs).unref()
  }

  /** Says what was delivered since the last summary, if anything was. */
  summarise(): void {
    clearTimeout(this.#summaryTimer)
    this.#summaryTimer = undefined
    if (this.#delivered.events === 0) return
    const now = this.#clock.monotonic()
    this.#log.emit('destination.delivered', {
      ...this.#who,
      ...this.#delivered,
      since_ms: Math.round(now - this.#summedSince),
    })
    this.#lastSummary = now
    this.#summedSince = now
    this.#delivered = { events: 0, batches: 0, bytes: 0 }
  }

  failed(batch: Batch, outcome: FailureKind, reason: Reason, health: Health): void {
    const { state, log } = fail(this.#failing, this.#clock.monotonic())
    this.#failing = state
    this.#saidFailed = log !== undefined
    const status = reason.status
    this.#log[log ? 'emit' : 'count']('destination.failed', {
      ...this.#who,
      log_type: batch.logType,
      batch_id: batch.id,
      outcome,
      reason: reason.code,
      status,
      message: reason.message,
      consecutive_failures: health.consecutiveFailures,
      suppressed: log?.suppressed ?? 0,
    })
    if (outcome === 'unauthorized' && !this.#unauthorized) {
      this.#unauthorized = true
      this.#log.emit('destination.unauthorized', {
        ...this.#who,
        reason: reason.code,
        status,
        message: reason.message,
      })
    }
    if (outcome === 'gone') {
      this.#log.emit('destination.gone', { ...this.#who, status, message: reason.message })
    }
  }

  /** Goes with the failure's line, and is kept back with it. */
  backingOff(health: Health, nextAttemptAt: number, delayMs: number): void {
    this.#log[this.#saidFailed ? 'emit' : 'count']('destination.backing_off', {
      ...this.#who,
      next_attempt_at: nextAttemptAt,
      delay_ms: delayMs,
      consecutive_failures: health.consecutiveFailures,
    })
  }

  /** The daemon itself failed in its work for this destination. */
  erred(error: unknown): void {
    const { state, log } = fail(this.#erring, this.#clock.monotonic())
    this.#erring = state
    this.#log[log ? 'emit' : 'count']('destination.error', { ...this.#who, error })
  }

  /** The database gave up the reading of a page. */
  cancelled(error: unknown): void {
    const { state, log } = fail(this.#cancelled, this.#clock.monotonic())
    this.#cancelled = state
    const message = error instanceof Error ? error.message : String(error)
    const suppressed = log?.suppressed ?? 0
    this.#log[log ? 'emit' : 'count']('destination.page_cancelled', { ...this.#who, message, suppressed })
  }

  recovered(failures: number, failingForMs: number): void {
    this.#failing = undefined
    this.#unauthorized = false
    this.#log.emit('destination.recovered', {
      ...this.#who,
      channel: 'spillway.notifications',
      failures,
      failing_for_ms: Math.round(failingForMs),
    })
  }

  abandoned(ranges: readonly LoggedRange[], failingForMs: number): void {
    this.#log.emit('backlog.abandoned', {
      ...this.#who,
      reason: 'backlog_expired',
      event_count: ranges.reduce((sum, { count }) => sum + (count ?? 0), 0),
      failing_for_ms: Math.round(failingForMs),
      ranges: ranges.map(loggable),
    })
  }

  held(failingForMs: number): void {
    this.#log.emit('backlog.held', { ...this.#who, failing_for_ms: Math.round(failingForMs) })
  }

  notice(notice: Notice, { consecutiveFailures }: Health): void {
    const told = {
      ...this.#who,
      channel: 'spillway.notifications',
      failing_for_ms: Math.round(notice.failingForMs),
      consecutive_failures: consecutiveFailures,
    } as const
    if (notice.kind === 'unhealthy') this.#log.emit('destination.unhealthy', told)
    else {
      const { percent, expiresAt } = notice
      this.#log.emit('backlog.expiring', {
        ...told,
        percent,
        expires_at: expiresAt,
        on_expiry: notice.onExpiry,
      })
    }
  }

  skipped(logType: string, skipped: readonly SkippedRange[]): void {
    for (const reason of ['too_old_for_provider', 'too_far_ahead_for_provider'] as const) {
      const unwanted = skipped.filter((range) => range.reason === reason)
      if (unwanted.length === 0) continue
      this.#log.emit('events.skipped', {
        ...this.#who,
        log_type: logType,
        reason,
        event_count: unwanted.reduce((sum, { count }) => sum + (count ?? 0), 0),
        ranges: unwanted.map((range) => loggable({ ...range, logType })),
      })
    }
    const deleted = skipped.filter(({ reason }) => reason === 'deleted_at_source')
    if (deleted.length > 0) {
      this.#log.emit('events.deleted_at_source', {
        ...this.#who,
        log_type: logType,
        ranges: deleted.map((range) => loggable({ ...range, logType })),
      })
    }
  }

  deadLettered(logType: string, deadLetters: readonly DeadLetter[]): void {
    for (const { eventId, code, status, message } of deadLetters) {
      this.#log.emit('event.dead_lettered', {
        ...this.#who,
        log_type: logType,
        event_id: eventId,
        reason: code,
        status,
        message,
      })
    }
  }
}

function loggable({ logType, from, to, count }: LoggedRange) {
  return { log_type: logType, from_position: from, to_position: to, event_count: count ?? null }
}
