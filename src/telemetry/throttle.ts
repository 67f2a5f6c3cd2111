/**
 * How often a failure that repeats is logged: the first at once, then at most one line every 30 s that
 * counts those in between, and one line when it is over. Pure: the caller keeps the state and the time.
 *
 *   undefined (well) ──fail──▶ Failing ──fail──▶ Failing … ──recover──▶ undefined
 */

/** Often enough to show that it goes on, seldom enough to read. */
export const LOG_AGAIN_MS = 30_000

export interface Failing {
  readonly firstFailedAt: number
  readonly loggedAt: number
  readonly failures: number
  /** Failures since the last line, that one not counted. */
  readonly suppressed: number
}

export interface Failed {
  readonly state: Failing
  /** Undefined: say nothing. Otherwise log, with the failures that were kept back before this one. */
  readonly log: { readonly suppressed: number } | undefined
}

export interface Recovered {
  readonly failures: number
  readonly failingForMs: number
}

/** A failure at `now` (any milliseconds that only grow). */
export function fail(state: Failing | undefined, now: number, logAgainMs: number = LOG_AGAIN_MS): Failed {
  if (!state) {
    return {
      state: { firstFailedAt: now, loggedAt: now, failures: 1, suppressed: 0 },
      log: { suppressed: 0 },
    }
  }
  const failures = state.failures + 1
  if (now - state.loggedAt < logAgainMs) {
    return { state: { ...state, failures, suppressed: state.suppressed + 1 }, log: undefined }
  }
  return {
    state: { ...state, failures, loggedAt: now, suppressed: 0 },
    log: { suppressed: state.suppressed },
  }
}

/** A success at `now`: what to log about the end of the failures, if there were any. The state is then undefined. */
export function recover(state: Failing | undefined, now: number): Recovered | undefined {
  return state && { failures: state.failures, failingForMs: now - state.firstFailedAt }
}
