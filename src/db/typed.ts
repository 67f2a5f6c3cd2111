/**
 * Typed queries over a state pool, for commands. The daemon stays clear of this module: the query builder
 * costs it 200 MB of memory.
 */
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import type { Sql } from './client.ts'
import * as schema from './schema.ts'

export type Db = PostgresJsDatabase<typeof schema> & { $client: Sql }

export function typed(sql: Sql): Db {
  return drizzle(sql, { schema })
}
