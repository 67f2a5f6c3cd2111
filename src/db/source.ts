/**
 * The way to the audit tables, direct or through a pooler, found when it is first needed.
 *
 * A direct pool sets what it needs at the start of each session. If a pooler is put in front of it later, it
 * refuses those settings or drops them, and rows would be hidden or read in another form. Both are noticed
 * before anything is believed: the pool is given up, and whoever waited tries again, as after a lost connection.
 */
import { errorCode } from './availability.ts'
import { connectSource, type PoolOptions, type SourceSql } from './client.ts'
import { lostStatements } from './lost-statements.ts'
import { connectPooledSource } from './pooled-source.ts'
import type { Route } from './pooler.ts'
import { StatementWatch } from './statement-watch.ts'

interface Way {
  readonly sql: SourceSql
  readonly pooled: boolean
  /** A session came without its settings. */
  strayed: boolean
}

export interface RenewingOptions {
  /** Connections that were cut without a word are given up too; for who stays. */
  readonly renewing?: boolean
  /** For who learns in another way that connections were cut. */
  readonly onWatch?: (watch: StatementWatch) => void
}

export function openSource(
  url: string,
  pool: PoolOptions,
  route: Route,
  { renewing = false, onWatch = () => {} }: RenewingOptions = {},
): SourceSql {
  let way: Way | undefined
  let ended = false
  const ending = new AbortController()
  const options = renewing ? { ...pool, watch: watchStatements() } : pool

  function watchStatements(): StatementWatch {
    const watch = new StatementWatch({
      lost: (suspects) => lostStatements({ url, pooled: way?.pooled === true }, suspects),
      onLost: () => way && leave(way, () => route.forget()),
    })
    void watch.run(ending.signal)
    onWatch(watch)
    return watch
  }

  async function choose(): Promise<Way> {
    if (way) return way
    const pooled = await route.pooled()
    if (ended) throw Object.assign(new Error('the pool is closed'), { code: 'CONNECTION_ENDED' })
    way ??= pooled ? pooledWay() : directWay()
    return way
  }

  function pooledWay(): Way {
    return { sql: connectPooledSource(url, options), pooled: true, strayed: false }
  }

  function directWay(): Way {
    const sql = connectSource(url, options, () => {
      direct.strayed = true
    })
    const direct: Way = { sql, pooled: false, strayed: false }
    return direct
  }

  async function run<T>(work: (sql: SourceSql) => Promise<T>): Promise<T> {
    const current = await choose()
    try {
      const result = await work(current.sql)
      if (!current.strayed) return result
    } catch (error) {
      // Refused at the start of a session, which only a pooler does.
      if (!current.pooled && errorCode(error) === '08P01') leave(current, () => route.forget())
      throw error
    }
    leave(current, () => route.foundPooler())
    throw Object.assign(new Error('a pooler stands in front of the database now'), { code: 'POOLER_FOUND' })
  }

  /** Once, whoever notices first. */
  function leave(left: Way, learn: () => void): void {
    if (way !== left) return
    way = undefined
    learn()
    void left.sql.end({ timeout: 0 })
  }

  return {
    query: (statement, parameters, settings) => run((sql) => sql.query(statement, parameters, settings)),
    each: (statement, parameters, settings, onRow) =>
      run((sql) => sql.each(statement, parameters, settings, onRow)),
    async end(closing) {
      ended = true
      ending.abort()
      await way?.sql.end(closing)
    },
  }
}
