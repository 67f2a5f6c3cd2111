/** The receiving side's handle; the server itself is a process of its own (receiver-process.ts). */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface ReceivedRequest {
  /** Row ids of its events. */
  readonly ids: readonly number[]
  /** Of the body as it travelled. */
  readonly bytes: number
  /** See `monotonicMs`. */
  readonly answeredAt: number
}

export interface Receiver extends AsyncDisposable {
  /** Answers 200 at once. */
  readonly url: string
  /** Answers 200 after so many milliseconds. */
  slowUrl(latencyMs: number): string
  /** Reads requests and never answers; their events count for nothing. */
  readonly hungUrl: string
  /**
   * What was received from the start of `work` until it has ended and `events` have arrived. Throws when
   * there are more, or when they are not all there in time.
   */
  during(events: number, work: () => Promise<unknown>): Promise<readonly ReceivedRequest[]>
}

export type FromReceiver =
  | { readonly kind: 'listening'; readonly url: string }
  | { readonly kind: 'received'; readonly requests: readonly ReceivedRequest[] }

/** Forget what was received, and tell when `events` have been. */
export interface ToReceiver {
  readonly expect: number
}

/** A run takes seconds; after this something hangs. */
const giveUpAfterMs = 180_000

/** Milliseconds of a clock that all processes of the machine share. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** From the first answer to the last: starting up is not counted, for anybody. */
export function eventsPerSecond(requests: readonly ReceivedRequest[]): number {
  const [first, last] = [requests[0], requests.at(-1)]
  if (!first || !last || last.answeredAt <= first.answeredAt) throw new Error('too few requests for a rate')
  return ((countEvents(requests) - first.ids.length) / (last.answeredAt - first.answeredAt)) * 1000
}

export function countEvents(requests: readonly ReceivedRequest[]): number {
  return requests.reduce((sum, { ids }) => sum + ids.length, 0)
}

export async function startReceiver(): Promise<Receiver> {
  const child = fork(fileURLToPath(new URL('./receiver-process.ts', import.meta.url)), {
    serialization: 'advanced',
  })
  const listening = await next(child)
  if (listening.kind !== 'listening') throw new Error('the receiver said something else first')
  const { url } = listening
  return {
    url,
    slowUrl: (latencyMs) => `${url}slow?ms=${latencyMs}`,
    hungUrl: `${url}hung`,
    async during(events, work) {
      const told = next(child)
      child.send({ expect: events } satisfies ToReceiver)
      const [answer] = await Promise.all([told, work()])
      const requests = answer.kind === 'received' ? answer.requests : []
      const arrived = countEvents(requests)
      if (arrived !== events) throw new Error(`${arrived} events arrived where ${events} were expected`)
      return requests
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return
      child.disconnect()
      await once(child, 'exit')
    },
  }
}

/** The parent's side of a channel whose other end speaks `FromReceiver` only. */
async function next(child: ChildProcess): Promise<FromReceiver> {
  const [message] = await once(child, 'message', { signal: AbortSignal.timeout(giveUpAfterMs) })
  return message as FromReceiver
}
