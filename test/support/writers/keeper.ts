/**
 * The application's housekeeping while others write: deletes rows that have been delivered, and makes, attaches
 * and detaches partitions. Nothing that has not been delivered is taken away.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type postgres from 'postgres'
import {
  type AuditTable,
  attachPartition,
  createPartition,
  detachPartition,
  firstPassingYear,
  type NewRow,
  removeRows,
} from '../audit-table.ts'
import { type Random, seeded } from '../random.ts'
import { insertBy, isRollback, RolledBack } from './writers.ts'

export interface KeeperOptions {
  readonly sql: postgres.Sql
  readonly table: AuditTable
  readonly seed: number
  readonly orgs: readonly (string | null)[]
  /** Leaves nothing that has been delivered, as a table that is used as a queue does. */
  readonly isThorough: boolean
  /** Ids of the rows that have arrived everywhere. */
  readonly delivered: () => ReadonlySet<string>
  readonly signal: AbortSignal
  readonly onDone: (deed: Deed) => void
}

/** Beyond this, a partition has to go before the next one comes. */
const mostPassing = 2

type Deed = 'delete' | 'attach partition' | 'create partition' | 'detach partition'

/** Until `signal` aborts; resolves with what takes the partitions away that are still there. */
export async function keepHouse(options: KeeperOptions): Promise<() => Promise<void>> {
  const { signal, table, onDone } = options
  const random = seeded(options.seed ^ 0x5eed)
  const passing: number[] = []
  let year = firstPassingYear

  /** False when it was rolled back, be it by the locks of others. */
  async function tried(deed: Deed, work: (tx: postgres.TransactionSql) => Promise<void>): Promise<boolean> {
    try {
      await options.sql.begin(work)
      onDone(deed)
      return true
    } catch (error) {
      if (isRollback(error)) return false
      throw error
    }
  }

  const detachOldest = async () => {
    const [oldest] = passing
    if (oldest === undefined) return
    if (await tried('detach partition', (tx) => detach(tx, options, oldest))) passing.shift()
  }

  while (!signal.aborted) {
    const isAll = options.isThorough && random() < 0.8
    await tried('delete', (tx) => (isAll ? deleteAll(tx, options) : deleteSome(tx, options, random)))
    if (table.variant.partitioned) {
      if (passing.length < mostPassing && random() < 0.3) {
        const next = year++
        const added = await (random() < 0.6
          ? tried('attach partition', (tx) => attachFilled(tx, options, random, next))
          : tried('create partition', (tx) => createAndFill(tx, options, next)))
        if (added) passing.push(next)
      }
      if (random() < 0.2) await detachOldest()
    }
    // A thorough one means to come between a wake-up and the page that it asks for.
    await delay(options.isThorough ? random() * 10 : 50 + random() * 200)
  }
  return async () => {
    for (let left = passing.length; left > 0; left--) await detachOldest()
  }
}

async function deleteAll(tx: postgres.TransactionSql, { table, delivered }: KeeperOptions): Promise<void> {
  const there = await tx.unsafe<{ id: string }[]>(`SELECT id::text FROM ${table.relation}`)
  const sent = delivered()
  const all = there.flatMap(({ id }) => (sent.has(id) ? [id] : []))
  if (all.length === 0) throw new RolledBack()
  await removeRows(tx, table, all)
}

/** Deletes up to thirty, of which a fifth comes to nothing. */
async function deleteSome(
  tx: postgres.TransactionSql,
  { table, delivered }: KeeperOptions,
  random: Random,
): Promise<void> {
  const all = [...delivered()]
  const start = Math.floor(random() * all.length)
  await removeRows(tx, table, all.slice(start, start + 1 + Math.floor(random() * 30)))
  if (all.length === 0 || random() < 0.2) throw new RolledBack()
}

async function attachFilled(
  tx: postgres.TransactionSql,
  options: KeeperOptions,
  random: Random,
  year: number,
): Promise<void> {
  await limitLockWait(tx)
  await attachPartition(tx, options.table, year, async (partition) => {
    await insertBy.insert(tx, options.table, partition, rowsOf(year, options))
    await delay(random() * 300)
  })
  await delay(random() * 100)
}

async function createAndFill(
  tx: postgres.TransactionSql,
  options: KeeperOptions,
  year: number,
): Promise<void> {
  await limitLockWait(tx)
  await createPartition(tx, year)
  await insertBy.copy(tx, options.table, options.table.relation, rowsOf(year, options))
}

async function detach(
  tx: postgres.TransactionSql,
  { table, delivered }: KeeperOptions,
  year: number,
): Promise<void> {
  await limitLockWait(tx)
  const sent = delivered()
  if (!(await detachPartition(tx, table, year, (ids) => ids.every((id) => sent.has(id)))))
    throw new RolledBack()
}

/** Some that belong to a year's partition. */
function rowsOf(year: number, { table, seed, orgs }: KeeperOptions): NewRow[] {
  return orgs.map((org, index) => {
    const digits = `${year.toString(16)}${index}${seed.toString(16)}`.padStart(12, '0').slice(-12)
    return {
      key: table.variant.key === 'bigint' ? null : `0ec0de00-0000-4000-8000-${digits}`,
      org,
      at: `${year}-03-01T00:00:00.000Z`,
      note: 'passing',
    }
  })
}

/** Waiting for a lock on the table stops all writers meanwhile. */
async function limitLockWait(tx: postgres.TransactionSql): Promise<void> {
  await tx.unsafe("SET LOCAL lock_timeout = '500ms'")
}
