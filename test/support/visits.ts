/**
 * When whose requests were at an endpoint: for each, which replica sent it, when it came and when it was over, by the
 * clock that the test shares with the database. A replica shows itself by a header that its environment fills.
 */
import type { NewDestination } from './destinations.ts'
import type { Behaviour, ReceivedRequest, Receiver } from './receiver.ts'

export interface Visit {
  readonly path: string
  readonly replica: string
  /** Epoch milliseconds. */
  readonly beganAt: number
  readonly request: ReceivedRequest
  /** Undefined while it is under way. */
  endedAt: number | undefined
  /** It was over before it was answered. */
  brokenOff: boolean
}

const header = 'x-replica'

/** Of a destination, so that its requests say which replica sends them. */
export function signedBy(url: string): NonNullable<NewDestination['config']> {
  return { url, auth: { type: 'header', name: header, value: { $secret: 'REPLICA' } } }
}

/** For the replica's environment. */
export function signature(name: string): Readonly<Record<string, string>> {
  return { SPILLWAY_SECRET_REPLICA: name }
}

/** All requests from now on, in order of arrival; they are answered as `answer` says. */
export function recordVisits(
  receiver: Receiver,
  answer: (replica: string, path: string) => Behaviour,
): readonly Visit[] {
  const visits: Visit[] = []
  receiver.always({
    choose: (request) => (response) => {
      const replica = request.headers[header] ?? ''
      const { path } = request
      const visit: Visit = {
        path,
        replica,
        beganAt: Date.now(),
        request,
        endedAt: undefined,
        brokenOff: false,
      }
      visits.push(visit)
      response.once('close', () => {
        visit.endedAt = Date.now()
        visit.brokenOff = !response.writableFinished
      })
      answer(replica, path)(response)
    },
  })
  return visits
}

/** Requests that came to a destination before another one there was over. There may be none (I3). */
export function overlaps(visits: readonly Visit[]): string[] {
  const last = new Map<string, Visit>()
  const found: string[] = []
  for (const visit of visits) {
    const before = last.get(visit.path)
    if (before && (before.endedAt ?? Number.POSITIVE_INFINITY) > visit.beganAt) {
      const ended = before.endedAt === undefined ? 'never' : `at ${before.endedAt}`
      found.push(
        `${visit.path}: ${visit.replica} came at ${visit.beganAt}, and ${before.replica}, there since ${before.beganAt}, left ${ended}`,
      )
    }
    if (
      !before ||
      (before.endedAt ?? Number.POSITIVE_INFINITY) < (visit.endedAt ?? Number.POSITIVE_INFINITY)
    ) {
      last.set(visit.path, visit)
    }
  }
  return found
}
