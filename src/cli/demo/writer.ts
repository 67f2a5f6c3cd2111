/**
 * The application: several connections that write audit rows in transactions of their own. Most commit at
 * once; some roll back, and some stay open for a while between their rows, so that ids become visible out
 * of order. That is all it takes to make a reader of `id > cursor` lose rows.
 */
import type { TransactionSql } from 'postgres'
import { sleep } from '../../clock.ts'
import { connectState } from '../../db/client.ts'
import type { AuditRow } from './plan.ts'
import { makeRow } from './rows.ts'

export interface Ledger {
  /** Rows whose COMMIT the server has confirmed. */
  committed(rows: readonly AuditRow[]): void
}

const connections = 8
const rollbackShare = 0.1
const slowShare = 0.12
/** How long a slow transaction stays open, and the pause between transactions. */
const slowMs = { min: 300, max: 1_500 }
const pauseMs = { min: 5, max: 45 }
const maxRowsPerStep = 3

class RollBack extends Error {}

export class Writer {
  readonly #url: string
  readonly #ledger: Ledger
  readonly #random: () => number
  #transactions = 0
  #rolledBack = 0
  #open = 0

  constructor(url: string, ledger: Ledger, random: () => number) {
    this.#url = url
    this.#ledger = ledger
    this.#random = random
  }

  /** Committed ones. */
  get transactions(): number {
    return this.#transactions
  }

  get rolledBack(): number {
    return this.#rolledBack
  }

  /** Transactions under way. */
  get open(): number {
    return this.#open
  }

  /** Writes until `signal` aborts; resolves when every transaction has ended. */
  async run(signal: AbortSignal): Promise<void> {
    const sql = connectState(this.#url, { applicationName: 'demo application', max: connections })
    const writeOn = async () => {
      while (!signal.aborted) {
        await this.#transaction(sql, signal)
        await sleep(this.#between(pauseMs), signal)
      }
    }
    try {
      await Promise.all(Array.from({ length: connections }, writeOn))
    } finally {
      await sql.end({ timeout: 2 })
    }
  }

  async #transaction(sql: ReturnType<typeof connectState>, signal: AbortSignal): Promise<void> {
    this.#open += 1
    try {
      const rows = await sql.begin(async (tx) => {
        const first = await this.#insertSome(tx)
        const rest: AuditRow[] = []
        if (this.#random() < slowShare) {
          await sleep(this.#between(slowMs), signal)
          rest.push(...(await this.#insertSome(tx)))
        }
        if (this.#random() < rollbackShare) throw new RollBack()
        return [...first, ...rest]
      })
      this.#transactions += 1
      this.#ledger.committed(rows)
    } catch (error) {
      if (!(error instanceof RollBack)) throw error
      this.#rolledBack += 1
    } finally {
      this.#open -= 1
    }
  }

  async #insertSome(tx: TransactionSql): Promise<AuditRow[]> {
    const rows: AuditRow[] = []
    const count = 1 + Math.floor(this.#random() * maxRowsPerStep)
    for (let index = 0; index < count; index++) {
      const { logType, org, columns } = makeRow(this.#random)
      const table = tx(`spillway.${logType}_audit_log`)
      const [row] = await tx<{ id: string }[]>`INSERT INTO ${table} ${tx(columns)} RETURNING id`
      if (row) rows.push({ logType, org, id: Number(row.id) })
    }
    return rows
  }

  #between({ min, max }: { readonly min: number; readonly max: number }): number {
    return min + this.#random() * (max - min)
  }
}
