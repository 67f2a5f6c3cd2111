/**
 * When a statement no longer needs this process: all of it is with the kernel, on a connection whose server has nothing
 * else to do. From then on PostgreSQL carries it out also if the process is killed, and finds out that nobody listens only
 * when it answers. A lost network or machine may still lose it.
 */
import { setImmediate as turn } from 'node:timers/promises'

/** The driver needs two or three between the statement's start and its connection. */
const microtasks = 8

/**
 * For a statement that somebody waits for. Where it is not known to be on its way (no connection is free, or the driver has
 * the statement described first, as it does once a connection, and behind a pooler always) that is when it is answered.
 * Rejects with it, if it fails before.
 */
export async function dispatched(statement: PromiseLike<unknown>): Promise<void> {
  for (let microtask = 0; microtask < microtasks; microtask++) {
    await undefined
    if (!isWritten(statement)) continue
    // The driver's own turn, in which it writes to the socket, was asked for before this one.
    await turn()
    return
  }
  await statement
}

/** What the driver notes on a statement and leaves out of its types (postgres.js 3.4.9). */
interface Noted {
  /** Of the connection. */
  readonly state?: object | null
  /** True until the server has described it; only then its parameters are sent. */
  readonly describeFirst?: boolean | number
}

function isWritten(statement: PromiseLike<unknown>): boolean {
  const { state, describeFirst } = statement as Noted
  return state !== undefined && state !== null && !describeFirst
}
