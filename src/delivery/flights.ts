/**
 * Batches on their way, a few at once, their answers taken in order. With one at a time a batch leaves when the one
 * before it has landed.
 */
import type { Outcome } from '../../providers/provider.ts'
import type { Batch } from './batch.ts'

export type Landing =
  | {
      readonly outcome: Outcome
      readonly durationMs: number
      /** It was accepted at an earlier time, and was not sent now. */
      readonly isOld?: true
    }
  /** The attempt was aborted, or the daemon itself failed: nothing is known of the batch. */
  | { readonly error: unknown }

export interface FlightsOptions {
  readonly maxInFlight: number
  /** Never rejects. */
  launch(batch: Batch): Promise<Landing>
  /** Before each launch: waits out the pause between batches. False: launch no more. */
  clearance(): Promise<boolean>
}

interface Flight {
  readonly batch: Batch
  readonly landing: Promise<Landing>
}

export class Flights {
  readonly #options: FlightsOptions
  #flights: Flight[] = []

  constructor(options: FlightsOptions) {
    this.#options = options
  }

  /** So many are on their way. */
  get size(): number {
    return this.#flights.length
  }

  /**
   * Launches what there is room for, and waits for the first. `batches`: those that are on their way and what comes
   * after them. Undefined when there is none, and none was launched any more.
   */
  async landing(batches: readonly Batch[]): Promise<Landing | undefined> {
    const { maxInFlight, launch, clearance } = this.#options
    for (const batch of batches.slice(this.#flights.length, maxInFlight)) {
      if (!(await clearance())) break
      this.#flights.push({ batch, landing: launch(batch) })
    }
    const landing = await this.#flights[0]?.landing
    this.#flights.shift()
    return landing
  }

  /** Waits for all that are still on their way; those that were accepted. */
  async accepted(): Promise<{ readonly batch: Batch; readonly isOld: boolean }[]> {
    const flights = this.#flights
    this.#flights = []
    const landings = await Promise.all(flights.map(({ landing }) => landing))
    return flights.flatMap(({ batch }, index) => {
      const landing = landings[index]
      if (batch.events.length === 0 || landing === undefined || 'error' in landing) return []
      return landing.outcome.kind === 'accepted' ? [{ batch, isOld: landing.isOld === true }] : []
    })
  }
}
