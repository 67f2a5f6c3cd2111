/** Whether the database has the schema this version works with. Commands look; only `migrate` and `run` change it. */
import type { Sql } from '../db/client.ts'
import { readSchemaState } from '../db/migrate.ts'
import { requireServer } from '../db/server-version.ts'
import { CommandError } from './command.ts'

/**
 * Throws `CommandError` where migrations are missing, `SchemaVersionError` where there are newer ones and
 * `ServerVersionError` where the server is too old for any.
 */
export async function requireSchema(sql: Sql): Promise<void> {
  await requireServer(sql)
  const { missing, empty } = await readSchemaState(sql)
  if (missing.length === 0) return
  throw new CommandError(
    empty ? 'The database has no Spillway schema.' : 'The database has the schema of an earlier Spillway.',
    'Run `spillway migrate` first (or `spillway run`, which does it too).',
  )
}
