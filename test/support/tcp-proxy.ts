/**
 * A TCP proxy in front of a database, which loses what is sent as a network does: without a word to either side. A
 * connection that was cut stays dead after the network is back, as behind a firewall that has forgotten it.
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { whenDone } from './postgres.ts'

export interface TcpProxy {
  /** The database's URL through the proxy. */
  readonly url: string
  /** From now on nothing gets through: on open connections, for ever, and on those that are made meanwhile. */
  blackHole(): void
  /** Those that are open now are dead for ever; new ones work. */
  halfOpen(): void
  /** New connections work again. */
  restore(): void
}

interface Pair {
  readonly ends: readonly Socket[]
  dead: boolean
}

/** Closed at the end of the test or file. */
export async function startTcpProxy(databaseUrl: string): Promise<TcpProxy> {
  const target = new URL(databaseUrl)
  const pairs = new Set<Pair>()
  let open = true
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const onward = open
      ? connect({ port: Number(target.port), host: target.hostname, allowHalfOpen: true })
      : undefined
    const ends = onward ? [client, onward] : [client]
    const pair: Pair = { ends, dead: !open }
    pairs.add(pair)
    for (const [index, end] of ends.entries()) {
      const other = ends[1 - index]
      end.on('error', () => {})
      // What a dead connection brings is taken, and lost.
      end.on('data', (chunk) => !pair.dead && other?.write(chunk))
      end.on('end', () => !pair.dead && other?.end())
      end.on('close', () => {
        if (!pair.dead) other?.destroy()
        if (ends.every(({ destroyed }) => destroyed)) pairs.delete(pair)
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  whenDone(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const { ends } of pairs) for (const end of ends) end.destroy()
      }),
  )
  const url = new URL(databaseUrl)
  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port) // a TCP server that listens has one
  const killAll = () => {
    for (const pair of pairs) pair.dead = true
  }
  return {
    url: url.href,
    blackHole() {
      open = false
      killAll()
    },
    halfOpen: killAll,
    restore() {
      open = true
    },
  }
}
