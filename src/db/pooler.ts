/**
 * Whether a pooler (PgBouncer, pgcat, Supavisor, RDS Proxy, …) stands in front of a database. In transaction
 * mode it gives each transaction another session of the server, so nothing that belongs to a session may be
 * relied on: settings, prepared statements, locks.
 *
 * It shows in the session's key: the protocol tells a client which server process to cancel, and a pooler has
 * to make that up, because it does not know yet which ones the client will use.
 */
import { ConfigError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'
import { errorCode } from './availability.ts'
import { Connection } from './connection.ts'

/** What is known of the way to a database, shared by all that go it. */
export class Route {
  readonly #url: string
  readonly #database: 'state' | 'source'
  readonly #log: Log | undefined
  #pooled: Promise<boolean> | undefined
  #said = false

  constructor(url: string, database: 'state' | 'source', log?: Log) {
    this.#url = url
    this.#database = database
    this.#log = log
  }

  /** Looks once, and again after `forget` or when looking failed. Rejects with the connection's error. */
  pooled(): Promise<boolean> {
    if (this.#pooled) return this.#pooled
    const looking = this.#look()
    this.#pooled = looking
    looking.catch(() => {
      if (this.#pooled === looking) this.#pooled = undefined
    })
    return looking
  }

  /** A connection was lost: the next one may go another way. */
  forget(): void {
    this.#pooled = undefined
  }

  /** A pooler has shown itself in another way. */
  foundPooler(): void {
    this.#pooled = Promise.resolve(true)
    this.#say(true)
  }

  async #look(): Promise<boolean> {
    const pooled = await isPooled(this.#url, this.#database)
    this.#say(pooled)
    return pooled
  }

  #say(pooled: boolean): void {
    if (pooled && !this.#said) this.#log?.emit('database.pooler_found', { database: this.#database })
    this.#said = pooled
  }
}

const protocolViolation = '08P01'
/** As long as connecting may take. */
const answerWithinMs = 10_000

async function isPooled(url: string, database: 'state' | 'source'): Promise<boolean> {
  const connection = new Connection(url, 'spillway probe')
  try {
    const question = connection.sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`
    const answer = await connection.within(answerWithinMs, question)
    return answer[0]?.pid !== answer.state?.pid
  } catch (error) {
    throw refusal(error, database) ?? error
  } finally {
    await connection.end(1)
  }
}

/**
 * Poolers refuse parameters that they do not know, here those that somebody wrote into the URL. PgBouncer has
 * the same code for much that passes by itself, so only the words tell.
 */
function refusal(error: unknown, database: 'state' | 'source'): ConfigError | undefined {
  if (errorCode(error) !== protocolViolation || !(error instanceof Error)) return undefined
  if (!error.message.includes('unsupported startup parameter')) return undefined
  const field = database === 'state' ? 'DATABASE_URL' : 'SPILLWAY_SOURCE_DATABASE_URL'
  return new ConfigError([
    { field, problem: `the pooler refuses what stands behind the ? of the URL (${error.message})` },
  ])
}
