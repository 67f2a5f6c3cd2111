/**
 * The order in which the destinations of a shard are ended when its lease is given up. Nobody delivers to one of them from
 * its end here until the whole shard is another replica's, and that is when the last request has come to its end. So those
 * whose requests take long are ended first, and the others go on until these are done (I6).
 */
import { sleep } from '../clock.ts'

/** What is known of a destination that is delivered to. */
export interface Pace {
  /** Attempts have failed since the last batch that was accepted. */
  readonly failing: boolean
  readonly isSending: boolean
  /** For how long the oldest request has been under way, or how long the last one took, in milliseconds. */
  readonly answerMs: number
}

export interface HandOver<Member, Ended> {
  /** What is on its way has so long to arrive, in milliseconds; with 0 all are ended at once. */
  readonly graceMs: number
  /** Undefined where nothing is delivered. */
  pace(member: Member): Pace | undefined
  end(member: Member, graceMs: number): Promise<Ended>
  /** Other work under the same lease that has been told to end. */
  readonly meanwhile: Promise<unknown>
}

/** A request that takes longer may take long. */
export const slowAfterMs = 250
/** At least this long those that went on have for what they have under way. */
const shortestGraceMs = 1_000

/** Resolves when all have ended, with what came of it. */
export async function endInTurn<Member, Ended>(
  members: readonly Member[],
  { graceMs, pace, end, ...others }: HandOver<Member, Ended>,
): Promise<Ended[]> {
  const meanwhile = handled(others.meanwhile)
  const ended: Promise<Ended>[] = []
  const left = new Set(members)
  const endThose = (which: (pace: Pace | undefined) => boolean, withinMs: number) => {
    for (const member of left) {
      if (!which(pace(member))) continue
      left.delete(member)
      ended.push(handled(end(member, withinMs)))
    }
  }
  let restMs = 0
  if (graceMs > 0) {
    const deadline = performance.now() + graceMs
    endThose(mayTakeLong, graceMs)
    // Of requests that have only begun nobody knows yet.
    if ([...left].some((member) => pace(member)?.isSending)) {
      await sleep(slowAfterMs)
      endThose(mayTakeLong, deadline - performance.now())
    }
    await Promise.all([...ended, meanwhile])
    restMs = Math.max(deadline - performance.now(), shortestGraceMs)
  }
  endThose(() => true, restMs)
  const [results] = await Promise.all([Promise.all(ended), meanwhile])
  return results
}

function mayTakeLong(pace: Pace | undefined): boolean {
  return pace !== undefined && (pace.failing || pace.answerMs > slowAfterMs)
}

/** It may fail before anybody waits for it; who does is told. */
function handled<T>(work: Promise<T>): Promise<T> {
  work.catch(() => {})
  return work
}
