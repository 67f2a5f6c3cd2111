/**
 * A fresh database on the embedded server, gone at the end. Never the one that `DATABASE_URL` names: the
 * demo must not be able to write into somebody's real tables.
 */
import postgres from 'postgres'
import type { Database } from '../../db/database.ts'
import { ConfigError } from '../../errors.ts'
import { CommandError } from '../command.ts'

const name = 'spillway_demo'

/** Throws `CommandError` while another demo runs in this directory, and what the embedded server throws. */
export async function openDemoDatabase(): Promise<Database> {
  const server = await startServer()
  const administer = async (work: (sql: postgres.Sql) => Promise<void>) => {
    const sql = postgres(server.url('postgres'), { max: 1, onnotice: () => {} })
    try {
      await work(sql)
    } finally {
      await sql.end()
    }
  }
  try {
    await administer(async (sql) => {
      const users = await sql`SELECT FROM pg_stat_activity WHERE datname = ${name}`
      if (users.length > 0) {
        throw new CommandError('A demo is running in this directory already.', 'End it first.')
      }
      // What a demo that was killed has left.
      await sql`DROP DATABASE IF EXISTS ${sql(name)}`
      await sql`CREATE DATABASE ${sql(name)}`
    })
  } catch (error) {
    await server.stop()
    throw error
  }
  return {
    url: server.url(name),
    async close() {
      try {
        await administer(async (sql) => {
          await sql`DROP DATABASE ${sql(name)} WITH (FORCE)`
        })
      } finally {
        await server.stop()
      }
    },
  }
}

/** Loaded on demand: production comes without it, and its own advice, to set DATABASE_URL, is none here. */
async function startServer() {
  const { startEmbedded } = await import('../../db/embedded/server.ts')
  try {
    return await startEmbedded()
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause
    throw new CommandError(
      `The demo needs the embedded PostgreSQL: ${cause.fields.map(({ problem }) => problem).join('; ')}`,
      'Run it from a clone of the repository, with `npm ci` and `npm run demo`.',
      { cause },
    )
  }
}
