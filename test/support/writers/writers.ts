/** Carries plans out on a database, each writer's on its own connection. */
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import type { AuditTable, NewRow } from '../audit-table.ts'
import { seeded } from '../random.ts'
import { type PlanOptions, plan, type Step, type Transaction } from './plan.ts'

export interface WritersOptions extends Omit<PlanOptions, 'writer' | 'variant'> {
  readonly url: string
  readonly table: AuditTable
  readonly seed: number
  readonly writers: number
  /** Of each writer; as many as it takes until `signal` aborts where that is given. */
  readonly transactions?: number
  readonly signal?: AbortSignal
  /** Called after each transaction that did what was planned, and with undefined where locks kept it from it. */
  readonly onEnded?: (transaction: Transaction | undefined) => void
}

/** A transaction that was planned to be rolled back. */
export class RolledBack extends Error {}

/** A rollback that the locks of others caused. */
const lostToOthers = new Set([
  '40P01', // deadlock detected
  '55P03', // lock not available in time
  '53200', // no room for one more prepared transaction on the server
])

/** Long enough to get a lock now and then, short enough not to stop everybody behind it. */
const lockTimeoutMs = 800

/** The server has room for twenty, and other tests use it too. */
const mostPrepared = 4

export function isRollback(error: unknown): boolean {
  return (
    error instanceof RolledBack || (error instanceof postgres.PostgresError && lostToOthers.has(error.code))
  )
}

/** Resolves when all writers have ended and nothing is left prepared. */
export async function writeAudit(options: WritersOptions): Promise<void> {
  const sql = postgres(options.url, {
    max: options.writers + mostPrepared,
    onnotice: () => {},
    connection: { application_name: 'writer' },
  })
  const prepared = new Prepared(sql)
  const failed = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal
  try {
    await Promise.all(
      Array.from({ length: options.writers }, (_, index) =>
        writer(sql, prepared, { ...options, signal }, index).catch((error) => {
          failed.abort()
          throw error
        }),
      ),
    )
    await prepared.ended()
  } finally {
    // After an error others may be in the middle of a transaction, which must not hide it.
    await sql.end({ timeout: 5 })
  }
}

async function writer(
  sql: postgres.Sql,
  prepared: Prepared,
  options: WritersOptions,
  index: number,
): Promise<void> {
  const { transactions = Number.POSITIVE_INFINITY, signal, seed, table } = options
  const name = `${seed}w${index}`
  const plans = plan(seeded(seed + index * 7919), { ...options, writer: name, variant: table.variant })
  for (let number = 0; number < transactions && !signal?.aborted; number++) {
    const transaction = plans.next().value
    const isDone = await perform(sql, prepared, table, transaction)
    options.onEnded?.(isDone ? transaction : undefined)
  }
}

/** False when the locks of others kept it from what was planned. */
async function perform(
  sql: postgres.Sql,
  prepared: Prepared,
  table: AuditTable,
  { steps, ending, preparedMs }: Transaction,
): Promise<boolean> {
  const isPrepared = ending === 'commit prepared' || ending === 'rollback prepared'
  const gid = isPrepared ? await prepared.enter() : ''
  try {
    await sql.begin(async (tx) => {
      await performSteps(tx, table, steps, [])
      if (ending === 'rollback') throw new RolledBack()
      if (isPrepared) await tx.prepare(gid)
    })
  } catch (error) {
    if (isPrepared) prepared.leave(gid)
    if (isRollback(error)) return error instanceof RolledBack
    throw error
  }
  if (isPrepared) prepared.endLater(gid, ending, preparedMs)
  return true
}

/** `drawn` are places that are taken and not used yet. */
async function performSteps(
  tx: postgres.TransactionSql,
  table: AuditTable,
  steps: readonly Step[],
  drawn: string[],
): Promise<void> {
  for (const step of steps) {
    switch (step.kind) {
      case 'pause':
        await delay(step.ms)
        break
      case 'insert':
      case 'select':
      case 'copy': {
        const [first] = step.rows
        if (first)
          await insertBy[step.kind](
            tx,
            table,
            step.straight ? table.leafOf(first) : table.relation,
            step.rows,
          )
        break
      }
      case 'draw': {
        const [row] = await tx.unsafe<{ place: string }[]>(`SELECT ${table.draw}::text AS place`)
        if (row) drawn.push(row.place)
        break
      }
      case 'insertDrawn':
        await insertDrawn(tx, table, step.row, drawn.shift())
        break
      case 'savepoint':
        await tx
          .savepoint(async (inner) => {
            await performSteps(inner, table, step.steps, drawn)
            if (step.rolledBack) throw new RolledBack()
          })
          .catch((error) => {
            if (!(error instanceof RolledBack)) throw error
          })
        break
      case 'lock':
        await tx.unsafe(`SET LOCAL lock_timeout = ${lockTimeoutMs}`)
        await tx.unsafe(`LOCK TABLE ${table.relation} IN ${step.mode} MODE`)
        break
      default:
        step satisfies never
    }
  }
}

async function insertDrawn(
  tx: postgres.TransactionSql,
  table: AuditTable,
  row: NewRow,
  place: string | undefined,
): Promise<void> {
  // Where the transaction's id is the place, it is the same for all its rows.
  const key = table.variant.ordering === 'id' ? place : row.key
  await tx`
    INSERT INTO ${tx(table.relation)} (id, org, at, note) VALUES (${key ?? null}, ${row.org}, ${row.at}, ${row.note})`
}

type Insert = (
  tx: postgres.TransactionSql,
  table: AuditTable,
  into: string,
  rows: readonly NewRow[],
) => Promise<void>

export const insertBy: Readonly<Record<'insert' | 'select' | 'copy', Insert>> = {
  async insert(tx, { columns }, into, rows) {
    const values = rows.map(({ key, ...rest }) => ({ id: key, ...rest }))
    await tx`INSERT INTO ${tx(into)} ${tx(values, columns as ('id' | 'org' | 'at' | 'note')[])}`
  },
  async select(tx, { columns, variant }, into, rows) {
    const values = rows.map(({ key, ...rest }) => ({ id: key, ...rest }))
    const list = columns.join(', ')
    await tx.unsafe(
      `INSERT INTO ${into} (${list}) SELECT ${list}
       FROM jsonb_to_recordset($1::text::jsonb) AS r(id ${variant.key}, org text, at timestamptz, note text)`,
      [JSON.stringify(values)],
    )
  },
  async copy(tx, { columns }, into, rows) {
    const lines = rows.map(({ key, org, at, note }) =>
      [...(columns.includes('id') ? [key] : []), org, at, note].map(copyText).join('\t'),
    )
    const stream = await tx.unsafe(`COPY ${into} (${columns.join(', ')}) FROM STDIN`).writable()
    await pipeline(Readable.from(lines.map((line) => `${line}\n`)), stream)
  },
}

/** PostgreSQL's text format of COPY. */
function copyText(value: string | null): string {
  if (value === null) return '\\N'
  return value
    .replaceAll('\\', '\\\\')
    .replaceAll('\t', '\\t')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
}

/** Transactions between their PREPARE and their end, which belong to nobody's connection. */
class Prepared {
  readonly #sql: postgres.Sql
  /** By name; undefined while it is on its way to be prepared. */
  readonly #open = new Map<string, Promise<void> | undefined>()

  constructor(sql: postgres.Sql) {
    this.#sql = sql
  }

  /** A name for one more. Names are the server's, not the database's. */
  async enter(): Promise<string> {
    while (this.#open.size >= mostPrepared) {
      const ends = [...this.#open.values()].filter((end) => end !== undefined)
      await (ends.length > 0 ? Promise.race(ends) : delay(10))
    }
    const gid = `writers-${randomBytes(6).toString('hex')}`
    this.#open.set(gid, undefined)
    return gid
  }

  leave(gid: string): void {
    this.#open.delete(gid)
  }

  endLater(gid: string, ending: 'commit prepared' | 'rollback prepared', afterMs: number): void {
    const end = delay(afterMs).then(async () => {
      await this.#sql.unsafe(`${ending} '${gid}'`)
      this.leave(gid)
    })
    this.#open.set(gid, end)
  }

  async ended(): Promise<void> {
    await Promise.all(this.#open.values())
  }
}
