/**
 * The books of one destination: every committed row that it should get against every event that its
 * endpoint has accepted. They keep only what is not balanced yet, so a demo may run for days.
 *
 * An event that was accepted and is no row it waits for is *unmatched*. Mostly its writer's confirmation
 * is just a little late; what stays unmatched to the end is a ghost or a duplicate.
 */
import type { AuditRow, PlannedDestination } from './plan.ts'

/** A request to the endpoint. */
export interface ArrivedBatch {
  readonly id: string
  /** Of the body, as it came. */
  readonly digest: string
  readonly events: readonly ArrivedEvent[]
}

export interface ArrivedEvent {
  /** `<log type>:<row id>` */
  readonly id: string
  readonly org: string | null
}

/** Batches whose id is remembered, to know a repeated one again. */
const rememberedBatches = 5_000

export class Account {
  readonly plan: PlannedDestination
  readonly #outstanding = new Set<string>()
  readonly #unmatched = new Set<string>()
  readonly #batches = new Map<string, string>()
  readonly #highest = new Map<string, number>()
  #written = 0
  #delivered = 0
  #refused = 0
  #repeated = 0
  #foreign = 0
  #altered = 0
  #disordered = 0
  #last: { readonly id: string; readonly at: number } | undefined

  constructor(plan: PlannedDestination) {
    this.plan = plan
  }

  /** Committed rows that belong to it. */
  get written(): number {
    return this.#written
  }

  get delivered(): number {
    return this.#delivered
  }

  get missing(): readonly string[] {
    return [...this.#outstanding]
  }

  get behind(): number {
    return this.#outstanding.size
  }

  get unmatched(): readonly string[] {
    return [...this.#unmatched]
  }

  /** Requests that the endpoint answered with an error. */
  get refused(): number {
    return this.#refused
  }

  /** Events that came again under their batch's id: allowed, since receivers can tell. */
  get repeated(): number {
    return this.#repeated
  }

  /** Events of another org (I7). */
  get foreign(): number {
    return this.#foreign
  }

  /** Batches that came again under an id with other bytes (I4). */
  get altered(): number {
    return this.#altered
  }

  /** Events that came after a later one. */
  get disordered(): number {
    return this.#disordered
  }

  /** The event accepted last; `at` in epoch milliseconds. */
  get last(): { readonly id: string; readonly at: number } | undefined {
    return this.#last
  }

  committed({ logType, id, org }: AuditRow): void {
    const { plan } = this
    if (!plan.logTypes.includes(logType) || (plan.org !== null && plan.org !== org)) return
    this.#written += 1
    const eventId = `${logType}:${id}`
    if (this.#unmatched.delete(eventId)) this.#delivered += 1
    else this.#outstanding.add(eventId)
  }

  /** A request came in; whether it is answered well or not, nothing foreign may be in it. */
  arrived(batch: ArrivedBatch, answer: 'accepted' | 'refused', now: number): void {
    const { org } = this.plan
    if (org !== null) this.#foreign += batch.events.filter((event) => event.org !== org).length
    if (answer === 'refused') {
      this.#refused += 1
      return
    }
    const before = this.#batches.get(batch.id)
    if (before !== undefined) {
      this.#repeated += batch.events.length
      if (before !== batch.digest) this.#altered += 1
      return
    }
    this.#remember(batch)
    for (const { id } of batch.events) this.#accept(id)
    const last = batch.events.at(-1)
    if (last) this.#last = { id: last.id, at: now }
  }

  #accept(eventId: string): void {
    if (this.#outstanding.delete(eventId)) this.#delivered += 1
    else this.#unmatched.add(eventId)
    const [logType = '', id = ''] = eventId.split(':')
    if (Number(id) <= (this.#highest.get(logType) ?? 0)) this.#disordered += 1
    else this.#highest.set(logType, Number(id))
  }

  #remember({ id, digest }: ArrivedBatch): void {
    this.#batches.set(id, digest)
    const [oldest] = this.#batches.keys()
    if (this.#batches.size > rememberedBatches && oldest !== undefined) this.#batches.delete(oldest)
  }
}
