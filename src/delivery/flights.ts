/**
 * The batches of a round on their way, a few at once, their answers taken in order. With one at a time a
 * batch leaves when the one before it has landed.
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
  readonly round: readonly Batch[]
  readonly maxInFlight: number
  /** Never rejects. */
  launch(batch: Batch): Promise<Landing>
  /** Before each launch: waits out the pause between batches. False: launch no more. */
  clearance(): Promise<boolean>
}

export class Flights {
  readonly #options: FlightsOptions
  readonly #landings: Promise<Landing>[] = []

  constructor(options: FlightsOptions) {
    this.#options = options
  }

  /** What came of batch `index` of the round; undefined when it was not launched any more. */
  async landing(index: number): Promise<Landing | undefined> {
    const { round, maxInFlight, launch, clearance } = this.#options
    for (const batch of round.slice(this.#landings.length, index + maxInFlight)) {
      if (!(await clearance())) break
      this.#landings.push(launch(batch))
    }
    return this.#landings[index]
  }

  /** Waits for all that are still on their way; the batches after `index` that were accepted. */
  async acceptedAfter(index: number): Promise<{ readonly batch: Batch; readonly isOld: boolean }[]> {
    const landings = await Promise.all(this.#landings)
    return this.#options.round.flatMap((batch, other) => {
      const landing = landings[other]
      if (other <= index || batch.events.length === 0 || landing === undefined || 'error' in landing)
        return []
      return landing.outcome.kind === 'accepted' ? [{ batch, isOld: landing.isOld === true }] : []
    })
  }
}
