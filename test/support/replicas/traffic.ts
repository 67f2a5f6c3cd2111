/**
 * What replicas sent to the destinations of a receiver: who sent what, when it began and when it ended, and what came
 * of it. A destination is a path.
 */
import type { ServerResponse } from 'node:http'
import { deliveries } from '../accounting.ts'
import type { ReceivedRequest, Receiver } from '../receiver.ts'

export interface Exchange {
  readonly path: string
  readonly batchId: string
  /** Of the process that sent it. */
  readonly pid: number
  readonly request: ReceivedRequest
  /** By `performance.now()`. */
  readonly beganAt: number
  /** When the answer left or the connection ended; undefined until then. */
  endedAt?: number
  /** Of the answer; undefined where there was none. */
  status?: number
}

/** How a request is answered: with a status after so long, or with none. */
export type Answer =
  | { readonly status: number; readonly afterMs?: number; readonly closes?: boolean }
  | 'reset'
  | 'hang'

export class Traffic {
  readonly exchanges: Exchange[] = []
  /** Events that were accepted, by path; with when that was first. */
  readonly arrivedAt = new Map<string, Map<string, number>>()

  constructor(receiver: Receiver, answer: (exchange: Exchange) => Answer) {
    receiver.always({ choose: (request) => (response) => this.#take(request, response, answer) })
  }

  arrived(path: string): ReadonlyMap<string, number> {
    return this.arrivedAt.get(path) ?? new Map()
  }

  #take(request: ReceivedRequest, response: ServerResponse, answer: (exchange: Exchange) => Answer): void {
    const exchange: Exchange = {
      path: request.path,
      batchId: request.headers['webhook-id'] ?? '',
      pid: Number(request.headers['made-by']),
      request,
      beganAt: request.beganAt,
    }
    this.exchanges.push(exchange)
    response.on('close', () => {
      exchange.endedAt ??= performance.now()
    })
    // It may have gone before its request was read.
    if (response.destroyed) exchange.endedAt ??= performance.now()
    const chosen = answer(exchange)
    if (chosen === 'hang') return
    if (chosen === 'reset') return void response.socket?.resetAndDestroy()
    const respond = () => {
      if (response.destroyed) return
      exchange.endedAt = performance.now()
      exchange.status = chosen.status
      if (chosen.status < 300) this.#note(exchange)
      response.writeHead(chosen.status, chosen.closes ? { connection: 'close' } : {}).end()
    }
    if (chosen.afterMs === undefined) respond()
    else {
      const timer = setTimeout(respond, chosen.afterMs)
      response.on('close', () => clearTimeout(timer))
    }
  }

  #note({ path, request, endedAt = 0 }: Exchange): void {
    const arrived = this.arrivedAt.get(path) ?? new Map<string, number>()
    this.arrivedAt.set(path, arrived)
    for (const { events } of deliveries([request])) {
      for (const { id } of events) if (!arrived.has(id)) arrived.set(id, endedAt)
    }
  }
}

/** Who closes a connection is not heard at once. */
const closeHeardWithinMs = 50

/** Requests for one destination that were under way at the same time, in words. */
export function overlaps(exchanges: readonly Exchange[]): string[] {
  const found: string[] = []
  for (const own of byPath(exchanges).values()) {
    const inOrder = own.toSorted((a, b) => a.beganAt - b.beganAt)
    for (const [index, next] of inOrder.entries()) {
      const before = inOrder[index - 1]
      if (!before) continue
      const endedAt = before.endedAt ?? Number.POSITIVE_INFINITY
      if (next.beganAt < endedAt - (before.status === undefined ? closeHeardWithinMs : 0))
        found.push(`${describeExchange(before)}, and ${describeExchange(next)}`)
    }
  }
  return found
}

export function byPath(exchanges: readonly Exchange[]): Map<string, Exchange[]> {
  return Map.groupBy(exchanges, ({ path }) => path)
}

/** Batches that came again though they had been accepted, by path: nothing but a crash explains them. */
export function repeats(
  exchanges: readonly Exchange[],
): Map<string, { before: Exchange; again: Exchange }[]> {
  const found = new Map<string, { before: Exchange; again: Exchange }[]>()
  for (const [path, own] of byPath(exchanges)) {
    const last = new Map<string, Exchange>()
    for (const again of own) {
      const before = last.get(again.batchId)
      // What is tried again after a failure is the same repeat.
      if (before && isAccepted(before)) found.set(path, [...(found.get(path) ?? []), { before, again }])
      last.set(again.batchId, again)
    }
  }
  return found
}

function isAccepted({ status = 0 }: Exchange): boolean {
  return status >= 200 && status < 300
}

export function describeExchange({ path, pid, batchId, beganAt, endedAt, status }: Exchange): string {
  return `${path} ${batchId.slice(0, 12)} by ${pid}, ${beganAt.toFixed(0)}-${endedAt?.toFixed(0)}: ${status}`
}
