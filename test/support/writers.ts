/**
 * Writers as applications have them, at their worst: transactions that roll back, stall, draw an id long
 * before they insert it, roll back to savepoints, and so commit out of the order of their ids.
 */
import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import { pick, type Random, seeded } from './random.ts'

export interface WritersOptions {
  readonly url: string
  readonly seed: number
  readonly writers: number
  /** Of each writer; as many as it takes until `signal` aborts where that is given. */
  readonly transactions?: number
  readonly signal?: AbortSignal
  readonly orgs: readonly [string, ...string[]]
  /** Pauses are drawn up to this. */
  readonly longestPauseMs: number
}

const sequence = 'spillway.request_audit_log_id_seq'

/** Writes into the built-in request table; resolves when all have ended. */
export async function writeAudit(options: WritersOptions): Promise<void> {
  const sql = postgres(options.url, {
    max: options.writers,
    onnotice: () => {},
    connection: { application_name: 'writer' },
  })
  try {
    await Promise.all(
      Array.from({ length: options.writers }, (_, index) =>
        writer(sql, options, seeded(options.seed + index * 7919)),
      ),
    )
  } finally {
    await sql.end()
  }
}

async function writer(sql: postgres.Sql, options: WritersOptions, random: Random): Promise<void> {
  const { transactions = Number.POSITIVE_INFINITY, signal } = options
  for (let number = 0; number < transactions && !signal?.aborted; number++) {
    await transaction(sql, options, random).catch((error) => {
      if (!(error instanceof RolledBack)) throw error
    })
  }
}

class RolledBack extends Error {}

async function transaction(sql: postgres.Sql, options: WritersOptions, random: Random): Promise<void> {
  const pause = () => delay(random() ** 3 * options.longestPauseMs)
  const org = () => pick(random, options.orgs)
  await sql.begin(async (tx) => {
    const kind = random()
    if (kind < 0.2) {
      const [row] = await tx`SELECT nextval(${sequence}) AS id`
      await pause()
      await tx`INSERT INTO spillway.request_audit_log (id, org_id, path) VALUES (${row?.id}, ${org()}, 'drawn early')`
    } else if (kind < 0.4) {
      await tx`INSERT INTO spillway.request_audit_log (org_id, path)
               SELECT ${org()}, 'many ' || n FROM generate_series(1, ${1 + Math.floor(random() * 20)}::int) n`
    } else if (kind < 0.55) {
      await tx
        .savepoint(async (inner) => {
          await inner`INSERT INTO spillway.request_audit_log (org_id, path) VALUES (${org()}, 'rolled back to savepoint')`
          throw new RolledBack()
        })
        .catch(() => {})
      await tx`INSERT INTO spillway.request_audit_log (org_id, path) VALUES (${org()}, 'after savepoint')`
    } else {
      await tx`INSERT INTO spillway.request_audit_log (org_id, path) VALUES (${org()}, 'plain')`
    }
    await pause()
    if (random() < 0.2) throw new RolledBack()
  })
}
