/**
 * The connections of one command: opened when they are needed, closed whatever happens. Where the
 * environment names no database the embedded server is started for as long as the command runs, unless a
 * daemon runs it already.
 */
import { type Config, parseConfig } from '../config.ts'
import { connectState, type SourceSql, type Sql } from '../db/client.ts'
import { openDatabase } from '../db/database.ts'
import { Route } from '../db/pooler.ts'
import { openSource } from '../db/source.ts'
import { HorizonStore } from '../sources/horizon-store.ts'
import { explainDatabaseError } from './database-error.ts'
import { requireSchema } from './schema.ts'

export interface Session {
  readonly config: Config
  /** Whether a pooler stands in front of a database. */
  readonly isPooled: { state(): Promise<boolean>; source(): Promise<boolean> }
  /** Spillway's own tables, at the schema of this version. */
  readonly sql: Sql
  /** The audit tables. */
  source(): Promise<SourceSql>
  /** The audit tables, on a connection that changes them: for the few commands that say so. */
  writableSource(): Promise<Sql>
  /**
   * Before rows are written whose triggers look at audit tables: where those are in another database, the
   * triggers must know. The daemon says so at every start, but it may never have run yet.
   */
  markSeparateSource(): Promise<void>
}

const pool = { applicationName: 'spillway cli', max: 2 }
/** For what the server still has to say when the command is done. */
const closeSeconds = 2

/** Throws `ConfigError`, `CommandError` for a database that cannot be used, and what `work` throws. */
export async function withSession<T>(
  env: NodeJS.ProcessEnv,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const config = parseConfig(env)
  const database = await openDatabase(config.databaseUrl)
  const sourceUrl = config.sourceDatabaseUrl ?? database.url
  const route = new Route(database.url, 'state')
  const sourceRoute = sourceUrl === database.url ? route : new Route(sourceUrl, 'source')
  let sql: Sql | undefined
  let sourceSql: SourceSql | undefined
  let writableSql: Sql | undefined
  try {
    const pooled = await explained('DATABASE_URL', database.url, () => route.pooled())
    const state = connectState(database.url, { ...pool, pooled })
    sql = state
    await explained('DATABASE_URL', database.url, () => requireSchema(state))
    return await explained('DATABASE_URL', database.url, () =>
      work({
        config,
        sql: state,
        isPooled: { state: () => route.pooled(), source: () => sourceRoute.pooled() },
        async source() {
          sourceSql ??= openSource(sourceUrl, pool, sourceRoute)
          const connected = sourceSql
          const variable =
            config.sourceDatabaseUrl === undefined ? 'DATABASE_URL' : 'SPILLWAY_SOURCE_DATABASE_URL'
          await explained(variable, sourceUrl, () => connected.query('SELECT 1'))
          return connected
        },
        async writableSource() {
          writableSql ??= connectState(sourceUrl, { ...pool, max: 1, pooled: await sourceRoute.pooled() })
          return writableSql
        },
        async markSeparateSource() {
          // Without the variable nothing is known: the daemon's environment may have it.
          if (config.sourceDatabaseUrl !== undefined) await new HorizonStore(state).saveSeparateSource(true)
        },
      }),
    )
  } finally {
    await Promise.all([sql, sourceSql, writableSql].map((each) => each?.end({ timeout: closeSeconds })))
    await database.close()
  }
}

async function explained<T>(
  variable: 'DATABASE_URL' | 'SPILLWAY_SOURCE_DATABASE_URL',
  url: string,
  work: () => PromiseLike<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw explainDatabaseError(error, variable, url)
  }
}
