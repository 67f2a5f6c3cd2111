/** The registered source of a log type, for the commands that work on one. */
import { eq } from 'drizzle-orm'
import type { Sql } from '../../db/client.ts'
import { sources } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import type { SourceDefinition } from '../../sources/source.ts'
import { CommandError } from '../command.ts'

/** Throws `CommandError` where there is none. */
export async function findSource(sql: Sql, logType: string): Promise<SourceDefinition> {
  const [row] = await typed(sql).select().from(sources).where(eq(sources.logType, logType))
  if (row) return { ...row, xactColumn: row.ordering === 'xact' ? row.xactColumn : null, revision: '' }
  throw new CommandError(
    `There is no source with the log type ${logType}.`,
    '`spillway sources list` shows which there are.',
  )
}
