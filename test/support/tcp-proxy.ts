/**
 * A TCP proxy in front of a database, which loses what is sent as a network does. What it swallows is gone without a word
 * to either side, and a connection of which something was swallowed stays dead after the network is back, as behind a
 * firewall that has forgotten it.
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { whenDone } from './postgres.ts'

export type Direction = 'to server' | 'to client'
const both: readonly Direction[] = ['to server', 'to client']

export interface Slowness {
  /** Of each packet, in each direction. */
  readonly latencyMs: number
  /** Of each connection, in each direction. */
  readonly bytesPerSecond: number
}

export interface TcpProxy {
  /** The database's URL through the proxy. */
  readonly url: string
  /** From now on nothing gets through: on open connections, for ever, and on those that are made meanwhile. */
  blackHole(lost?: readonly Direction[]): void
  /** Those that are open now are dead for ever; new ones work. */
  halfOpen(): void
  /** As `halfOpen`, and the server has already ended its side. */
  abandon(): void
  /** Breaks all connections with an RST, also those that are made meanwhile. */
  reset(): void
  slow(slowness: Slowness): void
  /** New connections go to another server. */
  retarget(databaseUrl: string): void
  /** New connections work again; nothing is slow any more. */
  restore(): void
}

/** Closed at the end of the test or file. */
export async function startTcpProxy(databaseUrl: string): Promise<TcpProxy> {
  let target = new URL(databaseUrl)
  const pairs = new Set<Pair>()
  let state: readonly Direction[] | 'resets' = []
  let slowness: Slowness | undefined
  const server = createServer({ allowHalfOpen: true }, (client) => {
    if (state === 'resets') {
      client.on('error', () => {})
      client.resetAndDestroy()
      return
    }
    const isReached = state.length < both.length
    const onward = isReached
      ? connect({ port: Number(target.port), host: target.hostname, allowHalfOpen: true })
      : undefined
    const pair = new Pair(client, onward, () => slowness)
    pair.lose(state)
    pairs.add(pair)
    pair.onGone = () => pairs.delete(pair)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  whenDone(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const pair of pairs) pair.destroy()
      }),
  )
  const url = new URL(databaseUrl)
  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port) // a TCP server that listens has one
  return {
    url: url.href,
    blackHole(lost = both) {
      state = lost
      for (const pair of pairs) pair.lose(lost)
    },
    halfOpen() {
      for (const pair of pairs) pair.lose(both)
    },
    abandon() {
      for (const pair of pairs) {
        pair.lose(both)
        pair.onward?.destroy()
      }
    },
    reset() {
      state = 'resets'
      for (const pair of pairs) pair.reset()
    },
    slow(next) {
      slowness = next
    },
    retarget(next) {
      target = new URL(next)
    },
    restore() {
      state = []
      slowness = undefined
    },
  }
}

/** A connection to the proxy, and the proxy's to the server if there is one. */
class Pair {
  readonly client: Socket
  readonly onward: Socket | undefined
  readonly #slowness: () => Slowness | undefined
  readonly #lost = new Set<Direction>()
  onGone = () => {}

  constructor(client: Socket, onward: Socket | undefined, slowness: () => Slowness | undefined) {
    this.client = client
    this.onward = onward
    this.#slowness = slowness
    this.#pass('to server', client, onward)
    if (onward) this.#pass('to client', onward, client)
  }

  lose(directions: readonly Direction[]): void {
    for (const direction of directions) this.#lost.add(direction)
  }

  reset(): void {
    this.client.resetAndDestroy()
    this.onward?.resetAndDestroy()
  }

  destroy(): void {
    this.client.destroy()
    this.onward?.destroy()
  }

  #pass(direction: Direction, from: Socket, to: Socket | undefined): void {
    let arrived: Promise<unknown> = Promise.resolve()
    let freeAt = 0
    // What is slow stays in order, and whatever is on its way when the connection dies is lost, too.
    const arrive = (bytes: number, happen: () => void) => {
      const slowness = this.#slowness()
      const sentAt = Math.max(performance.now(), freeAt)
      freeAt = sentAt + (slowness ? (bytes * 1_000) / slowness.bytesPerSecond : 0)
      const at = freeAt + (slowness?.latencyMs ?? 0)
      const unlessLost = () => {
        if (!this.#lost.has(direction)) happen()
      }
      if (slowness === undefined && freeAt <= performance.now()) arrived = arrived.then(unlessLost)
      else arrived = arrived.then(() => delay(Math.max(0, at - performance.now()))).then(unlessLost)
    }
    from.on('error', () => {})
    from.on('data', (chunk) => arrive(chunk.length, () => to?.write(chunk)))
    from.on('end', () => arrive(0, () => to?.end()))
    from.on('close', () => {
      arrive(0, () => to?.destroy())
      if (this.client.destroyed && (this.onward?.destroyed ?? true)) this.onGone()
    })
  }
}
