/** Whether a source can be read as it is registered: found in the catalogue, and its columns open to this role. */
import { errorCode, isAboutPolicy } from '../../db/availability.ts'
import type { SourceSql } from '../../db/client.ts'
import { SourceError } from '../../errors.ts'
import { quoteIdentifier } from '../../events/columns.ts'
import { resolveSource } from '../../sources/catalog.ts'
import type { Source, SourceDefinition } from '../../sources/source.ts'

/** Throws `SourceError`; other errors are the connection's. */
export async function probeSource(sql: SourceSql, definition: SourceDefinition): Promise<Source> {
  try {
    const source = await resolveSource(sql, definition)
    const { idColumn, orgColumn, timestampColumn } = definition
    const needed = [idColumn, timestampColumn, ...(orgColumn === null ? [] : [orgColumn])]
    const names = new Set([...source.columns.map(({ name }) => name), ...needed])
    // No row is read; a missing privilege shows all the same.
    await sql.query(`SELECT ${[...names].map(quoteIdentifier).join(', ')} FROM ${source.relation} LIMIT 0`)
    return source
  } catch (error) {
    throw asSourceError(error, definition)
  }
}

/**
 * The relation's name with its schema; undefined where there is none that this role can see. Only such a
 * name means the same table to everybody: the triggers that start cursors have another search_path than
 * the connections.
 */
export async function qualifiedName(sql: SourceSql, relation: string): Promise<string | undefined> {
  try {
    const [row] = await sql.query<{ name: string }>(
      `SELECT format('%I.%I', n.nspname, c.relname) AS name
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)`,
      [relation],
    )
    return row?.name
  } catch (error) {
    if (isAboutName(error) || errorCode(error) === insufficientPrivilege) return undefined
    throw error
  }
}

const insufficientPrivilege = '42501'

/** Not a name at all: invalid_name, syntax_error, or one with another database's in front. */
function isAboutName(error: unknown): boolean {
  return ['42602', '42601', '0A000'].includes(errorCode(error) ?? '')
}

function asSourceError(error: unknown, { logType, relation }: SourceDefinition): unknown {
  const said = error instanceof Error ? error.message : ''
  if (isAboutPolicy(error)) {
    return new SourceError(
      `source ${logType}: ${said}`,
      'ALTER ROLE … BYPASSRLS for the role of the connection: rows that a policy hides would be lost in silence.',
      { cause: error },
    )
  }
  if (errorCode(error) === insufficientPrivilege) {
    return new SourceError(
      `source ${logType}: ${said}`,
      `GRANT USAGE on the schema and SELECT on ${relation} to the role of the connection.`,
      { cause: error },
    )
  }
  if (!isAboutName(error)) return error
  return new SourceError(
    `source ${logType}: "${relation}" is no name of a relation (${said})`,
    'Write it as in SQL: schema.table, with double quotes around what is not lower case.',
    { cause: error },
  )
}
