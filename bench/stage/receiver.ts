/** The receiving side's handle; the server itself is a process of its own (receiver-process.ts). */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface ReceivedRequest {
  readonly events: number
  readonly bytes: number
  /** Row ids of the first and the last event. */
  readonly firstId: number
  readonly lastId: number
  /** See `monotonicMs`. */
  readonly answeredAt: number
}

export interface Receiver extends AsyncDisposable {
  readonly url: string
  /**
   * What was received from the start of `work` until it has ended and `events` have arrived. Throws when
   * there are more, or when they are not all there in time.
   */
  during(events: number, work: () => Promise<void>): Promise<readonly ReceivedRequest[]>
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
  const events = requests.reduce((sum, request) => sum + request.events, -first.events)
  return (events / (last.answeredAt - first.answeredAt)) * 1000
}

export async function startReceiver(): Promise<Receiver> {
  const child = fork(fileURLToPath(new URL('./receiver-process.ts', import.meta.url)))
  const listening = await next(child)
  if (listening.kind !== 'listening') throw new Error('the receiver said something else first')
  return {
    url: listening.url,
    async during(events, work) {
      const told = next(child)
      child.send({ expect: events } satisfies ToReceiver)
      const [answer] = await Promise.all([told, work()])
      const requests = answer.kind === 'received' ? answer.requests : []
      const arrived = requests.reduce((sum, request) => sum + request.events, 0)
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
