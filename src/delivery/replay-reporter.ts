/** What the log says about one replay: its start, its progress at most every 30 s, its failures, its end. */
import type { Clock } from '../clock.ts'
import type { Destination } from '../destinations/destination.ts'
import type { Log } from '../telemetry/log.ts'
import { type Failing, fail, LOG_AGAIN_MS } from '../telemetry/throttle.ts'
import type { DeadLetter } from './batch.ts'
import type { Health } from './decide.ts'
import type { Setback } from './replay-range.ts'
import type { Replay, ReplayResult } from './replay-store.ts'

export class ReplayReporter {
  readonly #log: Log
  readonly #clock: Clock
  readonly #replay: { replay_id: number; kind: Replay['kind'] }
  readonly #destination: { destination_id: number; name: string; type: string; org: string | null }
  #failing: Failing | undefined
  /** In this run of the daemon. */
  #sent = 0
  #said: number

  constructor(
    log: Log,
    clock: Clock,
    { id, kind }: Pick<Replay, 'id' | 'kind'>,
    { id: destination_id, name, type, orgId: org }: Pick<Destination, 'id' | 'name' | 'type' | 'orgId'>,
  ) {
    this.#log = log
    this.#clock = clock
    this.#replay = { replay_id: id, kind }
    this.#destination = { destination_id, name, type, org }
    this.#said = clock.monotonic()
  }

  started(expected: number | undefined): void {
    this.#log.emit('replay.started', { ...this.#who, expected: expected ?? null })
  }

  settled(logType: string, accepted: number, deadLetters: readonly DeadLetter[]): void {
    if (accepted > 0) this.#failing = undefined
    this.#sent += accepted
    if (accepted > 0) {
      this.#log.emit('replay.batch_delivered', { ...this.#who, log_type: logType, events: accepted })
    }
    for (const { eventId, code, message } of deadLetters) {
      const refused = { log_type: logType, event_id: eventId, reason: code, message }
      this.#log.emit('event.dead_lettered', { ...this.#destination, ...refused })
    }
    const now = this.#clock.monotonic()
    if (now - this.#said < LOG_AGAIN_MS) return
    this.#said = now
    this.#log.emit('replay.progress', { ...this.#who, sent: this.#sent })
  }

  failing({ kind: outcome, reason }: Setback, { consecutiveFailures, nextAttemptAt }: Health): void {
    const { state, log } = fail(this.#failing, this.#clock.monotonic())
    this.#failing = state
    this.#log[log ? 'emit' : 'count']('replay.backing_off', {
      ...this.#who,
      outcome,
      message: reason.message,
      consecutive_failures: consecutiveFailures,
      next_attempt_at: nextAttemptAt ?? this.#clock.now(),
      suppressed: log?.suppressed ?? 0,
    })
  }

  /** Says how it ended, if it has. */
  ended({ state, sent, refused, tooOld, missing, durationMs, lastError }: ReplayResult): void {
    switch (state) {
      case 'done': {
        const duration_ms = Math.round(durationMs)
        const counts = { sent, refused, too_old: tooOld, missing }
        this.#log.emit('replay.finished', { ...this.#who, ...counts, duration_ms })
        break
      }
      case 'failed':
        this.#log.emit('replay.failed', { ...this.#who, sent, message: lastError ?? '' })
        break
      case 'cancelled':
        this.#log.emit('replay.cancelled', { ...this.#who, sent })
        break
      case 'waiting':
      case 'running':
        break
      default:
        state satisfies never
    }
  }

  get #who() {
    return { ...this.#replay, ...this.#destination }
  }
}
