/**
 * How one destination is doing: keeps its failure record, and performs what `decide` says about it. A failure is
 * stored before anything else follows from it, so that a restart neither forgets nor repeats it.
 */
import type { Clock } from '../clock.ts'
import type { Destination } from '../destinations/destination.ts'
import type { Backlog, DeliveredAhead } from './backlog.ts'
import type { Batch } from './batch.ts'
import type { CursorWriter } from './cursor-writer.ts'
import { decide, type Health, healthy, type Verdict } from './decide.ts'
import { Notices } from './notices.ts'
import type { Reporter } from './reporter.ts'
import type { DeliveryStore } from './store.ts'
import type { Stream } from './stream.ts'

export interface ConditionDeps {
  readonly store: DeliveryStore
  readonly clock: Clock
  readonly reporter: Reporter
  readonly backoffScheduleMs: readonly number[]
  /** In [0, 1). */
  readonly random: () => number
  readonly writer: CursorWriter
  readonly backlog: Backlog
  /** The endpoint asked never to be called again, and the destination has been disabled. */
  onDisabled(): void
}

export class Condition {
  readonly #destination: Destination
  readonly #deps: ConditionDeps
  readonly #notices: Notices
  #health: Health

  constructor(destination: Destination, health: Health, deps: ConditionDeps) {
    this.#destination = destination
    this.#deps = deps
    this.#health = health
    this.#notices = new Notices(destination.delivery, health)
  }

  get failing(): boolean {
    return this.#health.firstFailedAt !== undefined
  }

  get status(): Health['status'] {
    return this.#health.status
  }

  get consecutiveFailures(): number {
    return this.#health.consecutiveFailures
  }

  /** How long the back-off still holds, in milliseconds; 0 and less when it does not. */
  get backOffMs(): number {
    return (this.#health.nextAttemptAt ?? 0) - this.#deps.clock.now()
  }

  /** Until something is to be told of a destination that goes on failing, in milliseconds; undefined: nothing. */
  get nextNoticeMs(): number | undefined {
    return this.#notices.nextInMs(this.#health, this.#deps.clock.now())
  }

  /** Tells what has become due while nothing was attempted. */
  notice(): void {
    const { clock, reporter } = this.#deps
    for (const notice of this.#notices.due(this.#health, clock.now())) reporter.notice(notice, this.#health)
  }

  accepted(): void {
    // The common case costs nothing.
    if (this.#health === healthy) return
    const { reporter } = this.#deps
    const { health, effects } = this.#decide({ kind: 'accepted' })
    this.#health = health
    this.#notices.recovered()
    for (const effect of effects) {
      if (effect.kind === 'recovered') reporter.recovered(effect.failures, effect.failingForMs)
    }
  }

  /** `streams` and `delivered` (see `Backlog`): in case the backlog is given up. True when it was. */
  async failed(
    batch: Batch,
    verdict: Exclude<Verdict, { kind: 'accepted' }>,
    streams: readonly Stream[],
    delivered: readonly DeliveredAhead[],
  ): Promise<boolean> {
    const { reporter, backlog, writer, store } = this.#deps
    const { health, effects } = this.#decide(verdict)
    this.#health = health
    const error = `${verdict.kind}: ${verdict.reason.message}`
    let abandoned = false
    for (const effect of effects) {
      switch (effect.kind) {
        case 'failed':
          reporter.failed(batch, effect.outcome, effect.reason, health)
          break
        case 'back_off':
          await this.#save(error)
          reporter.backingOff(health, effect.nextAttemptAt, effect.delayMs)
          this.notice()
          break
        case 'abandon':
          await backlog.abandon(streams, effect.failingForMs, delivered)
          this.#notices.abandoned()
          abandoned = true
          break
        case 'hold':
          reporter.held(effect.failingForMs)
          break
        case 'disable': {
          const { id, revision } = this.#destination
          await writer.retry(() => store.disable(id, revision, error))
          this.#deps.onDisabled()
          break
        }
        case 'recovered':
          break
        default:
          effect satisfies never
      }
    }
    return abandoned
  }

  #decide(verdict: Verdict) {
    const { clock, backoffScheduleMs, random } = this.#deps
    const policy = { ...this.#destination.delivery, scheduleMs: backoffScheduleMs }
    return decide(this.#health, verdict, policy, clock.now(), random())
  }

  #save(error: string): Promise<void> {
    const { id, revision } = this.#destination
    const { store, writer } = this.#deps
    return writer.retry(() => store.saveFailure(id, revision, this.#health, error))
  }
}
