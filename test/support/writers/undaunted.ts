/**
 * Writers that go on when the database goes away and comes back, as an application's do: each transaction of a plan
 * travels in one message, with its pauses as `pg_sleep`, so that no transaction's end is sent to a session that is gone.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type postgres from 'postgres'
import type { AuditTable, NewRow } from '../audit-table.ts'
import { connect } from '../postgres.ts'
import { seeded } from '../random.ts'
import { type PlanOptions, plan, type Step, type Transaction } from './plan.ts'

export interface UndauntedOptions extends Pick<PlanOptions, 'orgs' | 'longestPauseMs'> {
  readonly url: string
  readonly table: AuditTable
  readonly seed: number
  readonly writers: number
}

export interface Undaunted {
  /** Transactions that were answered, and messages that failed. */
  readonly done: number
  readonly failed: number
  /** Codes of the failures. */
  readonly codes: ReadonlySet<string>
  /** Resolves when that many more are done. */
  more(count: number): Promise<void>
  /** Ends the writers, and what a lost session left prepared. */
  stop(): Promise<void>
}

const pauseAfterFailureMs = 100
/** The server has room for twenty, and other tests use it too. */
const mostPrepared = 2

export function writeUndaunted({ url, table, seed, writers, ...options }: UndauntedOptions): Undaunted {
  const stopping = new AbortController()
  const codes = new Set<string>()
  const gids = `undaunted-${randomBytes(4).toString('hex')}`
  let done = 0
  let failed = 0
  let preparing = 0

  async function write(index: number): Promise<void> {
    const name = `${seed}u${index}`
    // Only a connection of its own takes a BEGIN from a message.
    const sql = connect(url, 1)
    const plans = plan(seeded(seed + index * 7919), {
      ...options,
      writer: name,
      variant: table.variant,
    })
    for (let number = 0; !stopping.signal.aborted; number++) {
      const transaction = plans.next().value
      if (transaction.steps.some(({ kind }) => kind === 'lock')) continue
      const gid =
        transaction.ending.endsWith('prepared') && preparing < mostPrepared
          ? `${gids}-${index}-${number}`
          : undefined
      if (gid) preparing += 1
      try {
        await sql.unsafe(messageOf(transaction, table, gid)).simple()
        done += 1
        if (gid) await delay(transaction.preparedMs)
      } catch (error) {
        failed += 1
        codes.add(codeOf(error))
        await delay(pauseAfterFailureMs)
      }
      if (gid === undefined) continue
      // Left prepared, it would hold the horizon for ever.
      await endPrepared(sql, gid, transaction.ending)
      preparing -= 1
    }
    await sql.end({ timeout: 5 })
  }

  const writing = Promise.all(Array.from({ length: writers }, (_, index) => write(index)))
  writing.catch(() => {})
  return {
    get done() {
      return done
    },
    get failed() {
      return failed
    },
    codes,
    async more(count) {
      const goal = done + count
      while (done < goal) await Promise.race([writing, delay(10)])
    },
    async stop() {
      stopping.abort()
      await writing
    },
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
}

/** As soon as the database answers. */
async function endPrepared(sql: postgres.Sql, gid: string, ending: Transaction['ending']): Promise<void> {
  for (;;) {
    try {
      // Of a transaction that could not be prepared.
      await sql.unsafe('ROLLBACK')
      const open = await sql`SELECT FROM pg_prepared_xacts WHERE gid = ${gid}`
      if (open.length > 0) await sql.unsafe(`${ending.split(' ')[0]} PREPARED '${gid}'`)
      return
    } catch {
      await delay(pauseAfterFailureMs)
    }
  }
}

/** `gid`: where it is to be prepared. What a former message left open is rolled back first. */
function messageOf({ steps, ending }: Transaction, table: AuditTable, gid: string | undefined): string {
  const body = [...statementsOf(steps, table, { drawn: 0, used: 0 })]
  const end = gid ? `PREPARE TRANSACTION '${gid}'` : ending.split(' ')[0]
  return ['ROLLBACK', 'BEGIN', ...body, end].join(';\n')
}

/** Places are drawn into settings of the transaction, and used in the order in which they were drawn. */
interface Draws {
  drawn: number
  used: number
}

function* statementsOf(steps: readonly Step[], table: AuditTable, draws: Draws): Generator<string> {
  for (const step of steps) {
    switch (step.kind) {
      case 'pause':
        yield sleepFor(step.ms)
        break
      // A COPY has no place in a message of several statements.
      case 'copy':
      case 'insert':
      case 'select':
        yield insertion(
          table,
          step.straight && step.rows[0] ? table.leafOf(step.rows[0]) : table.relation,
          step.rows,
        )
        break
      case 'draw':
        yield `SELECT set_config('writer.place_${draws.drawn}', (${table.draw})::text, false)`
        draws.drawn += 1
        break
      case 'insertDrawn': {
        const { key, org, at, note } = step.row
        // One that was drawn in a savepoint that was rolled back is forgotten.
        const place = `nullif(current_setting('writer.place_${draws.used}', true), '')`
        const id =
          table.variant.ordering === 'id' ? `coalesce(${place}::bigint, (${table.draw}))` : literal(key)
        draws.used += 1
        yield `INSERT INTO ${table.relation} (id, org, at, note) VALUES (${id}, ${[org, at, note].map(literal).join(', ')})`
        yield `SELECT set_config('writer.place_${draws.used - 1}', '', false)`
        break
      }
      case 'savepoint':
        yield 'SAVEPOINT here'
        yield* statementsOf(step.steps, table, draws)
        yield `${step.rolledBack ? 'ROLLBACK TO' : 'RELEASE'} here`
        break
      case 'lock':
        break
      default:
        step satisfies never
    }
  }
}

function insertion(table: AuditTable, into: string, rows: readonly NewRow[]): string {
  const values = rows.map(({ key, org, at, note }) => {
    const cells = [...(table.columns.includes('id') ? [key] : []), org, at, note]
    return `(${cells.map(literal).join(', ')})`
  })
  return `INSERT INTO ${into} (${table.columns.join(', ')}) VALUES ${values.join(', ')}`
}

function sleepFor(ms: number): string {
  return `SELECT pg_sleep(${ms / 1_000})`
}

function literal(value: string | null): string {
  if (value === null) return 'NULL'
  return ` E'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
