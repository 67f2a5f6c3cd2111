/** Processes of an application that write audit rows in transactions of several statements, until they are stopped. */
import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import { whenDone } from '../postgres.ts'
import { type Random, seeded } from '../random.ts'
import type { Ledger, Written } from './ledger.ts'

export type Transaction = (
  tx: postgres.TransactionSql,
  tools: { readonly random: Random; pause(): Promise<void> },
) => Promise<Written[]>

export interface Application {
  /** Runs one transaction now and enters what it wrote. */
  write(transaction: Transaction): Promise<Written[]>
  /** Waits until a number of rows have been committed. */
  committed(rows: number): Promise<void>
  /** Ends the processes, each after its transaction. */
  stop(): Promise<void>
}

export interface ApplicationOptions {
  readonly url: string
  readonly ledger: Ledger
  readonly seed: number
  readonly processes: number
  /** What a process does again and again; some of it is rolled back. */
  readonly transaction: Transaction
}

const longestPauseMs = 150
/** Between two transactions of a process. */
const longestRestMs = 300
const rolledBack = 0.15

class RolledBack extends Error {}

export function startApplication(options: ApplicationOptions): Application {
  const { url, ledger, seed, processes, transaction } = options
  const sql = postgres(url, {
    max: processes + 1,
    onnotice: () => {},
    connection: { application_name: 'application' },
    // As they are written, with all their digits, and not by way of a Date.
    types: { timestamp: { to: 1114, from: [1114], serialize: String, parse: String } },
  })
  const stopping = new AbortController()
  const waiting = new Set<() => void>()
  const own = seeded(seed - 1)

  const perform = async (work: Transaction, random: Random, mayFail: boolean): Promise<Written[]> => {
    // Cubed, so that most are short and some are long.
    const pause = () => delay(random() ** 3 * longestPauseMs)
    let began = 0
    const rows = await sql.begin(async (tx) => {
      const written = await work(tx, { random, pause })
      await pause()
      if (mayFail && random() < rolledBack) throw new RolledBack()
      began = performance.now()
      return written
    })
    ledger.add(rows, { began, ended: performance.now() })
    for (const look of waiting) look()
    return rows
  }
  const process = async (random: Random) => {
    while (!stopping.signal.aborted) {
      await delay(random() * longestRestMs)
      await perform(transaction, random, true).catch((error) => {
        if (!(error instanceof RolledBack)) throw error
      })
    }
  }
  const running = Promise.all(
    Array.from({ length: processes }, (_, index) => process(seeded(seed + index * 7919))),
  )
  // Whoever stops them hears of the error.
  running.catch(() => {})
  const stop = async () => {
    stopping.abort()
    await running
  }
  whenDone(async () => {
    stopping.abort()
    await running.catch(() => {})
    await sql.end()
  })
  return {
    write: (work) => perform(work, own, false),
    committed: (rows) =>
      Promise.race([
        new Promise<void>((resolve) => {
          const enough = ledger.size + rows
          const look = () => {
            if (ledger.size < enough) return
            waiting.delete(look)
            resolve()
          }
          waiting.add(look)
        }),
        running.then(() => {
          throw new Error('the application has stopped')
        }),
      ]),
    stop,
  }
}
