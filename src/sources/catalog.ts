/**
 * Looks a registered source up in the database's catalogue, and refuses what could not be read without
 * loss, with the reason and the remedy (`SourceError`).
 */
import type { SourceSql } from '../db/client.ts'
import { serverProblem } from '../db/server-version.ts'
import { SourceError } from '../errors.ts'
import { quoteIdentifier } from '../events/columns.ts'
import { saysInstant } from '../events/timestamp.ts'
import { type CatalogColumn, columnsMark, readColumns } from './catalog-columns.ts'
import { readIncarnation } from './incarnation.ts'
import {
  checkSequences,
  inheritorsOf,
  readParts,
  readSequences,
  type Sequence,
  sequencesOf,
} from './sequences.ts'
import type { Fence, Part, Source, SourceDefinition } from './source.ts'

const integerTypes = new Set(['smallint', 'integer', 'bigint'])
/** What the daemon can read without loss; a foreign table's and a view's writers lock other relations. */
const tableKinds = new Set(['r', 'p'])

/** Throws `SourceError` when the source is unusable; other errors are the database's own. */
export async function resolveSource(sql: SourceSql, definition: SourceDefinition): Promise<Source> {
  const [relation] = await sql.query<RelationRow>(
    `SELECT r.oid::oid AS oid, r.oid::text AS name, (SELECT relkind FROM pg_class c WHERE c.oid = r.oid) AS kind,
            pg_is_in_recovery() AS replica,
            EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = r.oid) AS subscribed,
            getdatabaseencoding() AS encoding, current_setting('server_version') AS version,
            current_setting('server_version_num') AS version_number,
            ${fingerprintExpression({ relation: '$1', idColumn: '$2::name' })} AS fingerprint
     FROM (SELECT to_regclass($1::text) AS oid) r`,
    [definition.relation, definition.idColumn],
  )
  const tooOld =
    relation && serverProblem({ version: relation.version, number: Number(relation.version_number) })
  if (tooOld) throw new SourceError(`source ${definition.logType}: ${tooOld.message}`, tooOld.hint)
  if (relation?.replica === 't') {
    throw new SourceError(
      `source ${definition.logType}: the database is a read replica, where nobody can see which writers are still open; rows would be lost`,
      'Point the source database at the primary.',
    )
  }
  if (relation?.encoding === 'SQL_ASCII') {
    throw new SourceError(
      `source ${definition.logType}: the database's encoding is SQL_ASCII, which does not say what the bytes of a text mean; those beyond ASCII might arrive as other characters`,
      'Move the tables to a database whose encoding is UTF8 (pg_dump --encoding, then CREATE DATABASE … ENCODING UTF8).',
    )
  }
  if (!relation?.oid) {
    throw new SourceError(
      `source ${definition.logType}: there is no relation ${definition.relation} that this role can see`,
      'Set sources.relation to the table as it is written in SQL, e.g. public."auditLog", or grant USAGE on its schema.',
    )
  }
  if (!tableKinds.has(relation.kind)) {
    throw new SourceError(
      `source ${definition.logType}: ${relation.name} is no table, so its writers cannot be seen; rows would be lost`,
      'Register the table behind it; sources.exclude_columns leaves columns out.',
    )
  }
  const { columns, composites, mark } = await readColumns(sql, relation.oid)
  const idColumn = requireColumn(definition, columns, 'id_column', definition.idColumn)
  const timestampColumn = requireColumn(definition, columns, 'timestamp_column', definition.timestampColumn)
  if (!saysInstant(timestampColumn.type)) {
    throw new SourceError(
      `source ${definition.logType}: timestamp_column ${definition.timestampColumn} is of type ${timestampColumn.type}, which tells no instant`,
      'Use a column of type timestamptz, timestamp or date, or a number of seconds, milliseconds, microseconds or nanoseconds since 1970: another column, or a generated one (ALTER TABLE … ADD COLUMN … GENERATED ALWAYS AS (…) STORED).',
    )
  }
  if (definition.orgColumn !== null) {
    requireColumn(definition, columns, 'org_column', definition.orgColumn)
    await refuseLooseOrgs(sql, definition.logType, relation.oid, definition.orgColumn)
  }
  for (const name of definition.excludeColumns) requireColumn(definition, columns, 'exclude_columns', name)
  const parts = await readParts(sql, relation.oid)
  await refuseUnreadableColumns(sql, definition, columns, relation.oid)
  if (idColumn.nullable) await refuseRowsWithoutId(sql, definition, relation.name)
  const fenced =
    definition.ordering === 'xact'
      ? checkTransactions(definition, columns, relation)
      : await findFence(sql, definition, idColumn, { ...relation, oid: relation.oid }, parts)
  const { cluster, incarnation } = await readIncarnation(sql, relation.oid, fenced.sequences)
  const excluded = new Set(definition.excludeColumns)
  const sequence = fenced.sequences.find(({ feeds }) => feeds === 't')
  return {
    definition,
    relation: relation.name,
    fingerprint: composites.length > 0 ? `${relation.fingerprint}/${mark}` : relation.fingerprint,
    columnsMark: mark,
    composites,
    cluster,
    incarnation,
    allColumns: columns,
    columns: columns.filter(({ name }) => !excluded.has(name)),
    parts,
    fence: fenced.fence,
    fenceRelations: fenced.relations,
    readableSequence: sequence?.readable === 't' ? sequence.oid : undefined,
    ordered: await hasIndexOn(sql, relation.oid, definition.xactColumn ?? definition.idColumn),
  }
}

interface Fenced {
  readonly fence: Fence
  readonly relations: readonly string[]
  readonly sequences: readonly Sequence[]
}

/** Ids must rise in the order in which they are drawn, under a lock that can be seen. */
async function findFence(
  sql: SourceSql,
  definition: SourceDefinition,
  idColumn: CatalogColumn,
  relation: RelationRow & { readonly oid: string },
  parts: readonly Part[],
): Promise<Fenced> {
  const { logType } = definition
  if (!integerTypes.has(idColumn.type)) {
    throw new SourceError(
      `source ${logType}: id_column ${definition.idColumn} is of type ${idColumn.type}, which has no rising order of its own`,
      `Use the ordering "xact": ${addXactColumn(relation.name)}.`,
    )
  }
  if (relation.subscribed === 't') {
    throw new SourceError(
      `source ${logType}: ${relation.name} is filled by logical replication, which draws no ids here; rows would be lost`,
      `Read the publisher's table, or use the ordering "xact": ${addXactColumn(relation.name)}.`,
    )
  }
  const sequences = await readSequences(sql, relation.oid, definition.idColumn)
  checkSequences(definition, idColumn.defaultExpression, sequences)
  return sequences.length > 0
    ? { fence: 'sequence', relations: sequences.map(({ oid }) => oid), sequences }
    : { fence: 'table', relations: parts.map(({ oid }) => oid), sequences }
}

/** I7: under such a collation "Acme" and "ACME" are the same, and one tenant would get the other's rows. */
async function refuseLooseOrgs(
  sql: SourceSql,
  logType: string,
  relation: string,
  orgColumn: string,
): Promise<void> {
  const [row] = await sql.query<{ name: string }>(
    `SELECT c.collname AS name FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
     WHERE a.attrelid = $1::oid AND a.attname = $2 AND NOT c.collisdeterministic`,
    [relation, orgColumn],
  )
  if (!row) return
  throw new SourceError(
    `source ${logType}: org_column ${orgColumn} has the collation ${row.name}, which takes different texts for the same; tenants could not be told apart`,
    `Use another column, or one with a deterministic collation: ALTER TABLE … ALTER COLUMN ${quoteIdentifier(orgColumn)} TYPE text COLLATE "C".`,
  )
}

/** Said before a page is read in vain: a column that was added later, or was never granted. */
async function refuseUnreadableColumns(
  sql: SourceSql,
  { logType, excludeColumns, idColumn, orgColumn, timestampColumn, xactColumn }: SourceDefinition,
  columns: readonly CatalogColumn[],
  relation: string,
): Promise<void> {
  const named = [idColumn, orgColumn, timestampColumn, xactColumn]
  const needed = columns.filter(({ name }) => named.includes(name) || !excludeColumns.includes(name))
  const rows = await sql.query<{ name: string; relation: string; role: string }>(
    `SELECT quote_ident(a.attname) AS name, $1::oid::regclass::text AS relation, quote_ident(current_user) AS role
     FROM pg_attribute a
     WHERE a.attrelid = $1::oid AND a.attname::text IN (SELECT jsonb_array_elements_text($2::text::jsonb))
       AND NOT has_column_privilege($1::oid, a.attnum, 'SELECT') ORDER BY a.attnum`,
    [relation, JSON.stringify(needed.map(({ name }) => name))],
  )
  const [first] = rows
  if (!first) return
  const list = rows.map(({ name }) => name).join(', ')
  const all = rows.length === needed.length
  throw new SourceError(
    `source ${logType}: permission denied: the role ${first.role} may not read ${all ? first.relation : `${list} of ${first.relation}`}`,
    all
      ? `GRANT SELECT ON ${first.relation} TO ${first.role}.`
      : `GRANT SELECT (${list}) ON ${first.relation} TO ${first.role}, or name what is not to be read in sources.exclude_columns.`,
  )
}

/** A row without an id has no place in the order, and would be passed over. */
async function refuseRowsWithoutId(
  sql: SourceSql,
  { logType, idColumn }: SourceDefinition,
  relation: string,
): Promise<void> {
  const id = quoteIdentifier(idColumn)
  const [row] = await sql.query<{ found: string }>(
    `SELECT EXISTS (SELECT FROM ${relation} WHERE ${id} IS NULL) AS found`,
  )
  if (row?.found !== 't') return
  throw new SourceError(
    `source ${logType}: ${relation} has rows whose ${idColumn} is NULL, which have no place in the order; they would be lost`,
    `Give them ids, then ALTER TABLE ${relation} ALTER COLUMN ${id} SET NOT NULL.`,
  )
}

/** Every row must carry the transaction that wrote it. */
function checkTransactions(
  definition: SourceDefinition,
  columns: readonly CatalogColumn[],
  { name: relation, encoding }: RelationRow,
): Fenced {
  const { logType, idColumn, xactColumn } = definition
  if (xactColumn === null) {
    throw new SourceError(
      `source ${logType}: the ordering "xact" needs sources.xact_column`,
      `${addXactColumn(relation)}, and name it there.`,
    )
  }
  const column = requireColumn(definition, columns, 'xact_column', xactColumn)
  if (column.type !== 'xid8' || column.nullable) {
    throw new SourceError(
      `source ${logType}: xact_column ${xactColumn} is ${column.nullable ? 'nullable' : `of type ${column.type}`}; it has to hold the transaction of every row`,
      `${addXactColumn(relation)}, and name it there.`,
    )
  }
  const id = requireColumn(definition, columns, 'id_column', idColumn)
  if (encoding !== 'UTF8' && !integerTypes.has(id.type) && id.type !== 'uuid') {
    throw new SourceError(
      `source ${logType}: id_column ${idColumn} is of type ${id.type} and the database's encoding ${encoding}, whose bytes sort otherwise than those of UTF8`,
      'Use a key of type uuid or bigint, or move the table to a database whose encoding is UTF8.',
    )
  }
  return { fence: 'snapshot', relations: [], sequences: [] }
}

function addXactColumn(relation: string): string {
  return `ALTER TABLE ${relation} ADD COLUMN xact xid8 NOT NULL DEFAULT pg_current_xact_id()`
}

/** Whether a valid B-tree over all rows leads with a column. */
async function hasIndexOn(sql: SourceSql, relation: string, column: string): Promise<boolean> {
  const [row] = await sql.query<{ found: string }>(
    `SELECT EXISTS (
       SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
       WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree' AND a.attname = $2
     ) AS found`,
    [relation, column],
  )
  return row?.found === 't'
}

interface RelationRow {
  readonly oid: string | null
  readonly name: string
  readonly kind: string
  readonly replica: string
  readonly encoding: string
  readonly subscribed: string
  readonly version: string
  readonly version_number: string
  readonly fingerprint: string
}

/** The expression that gives `fingerprint` while the source is what it was when it was found. */
export function sourceFingerprint(
  { composites }: Pick<Source, 'composites'>,
  names: { relation: string; idColumn: string },
): string {
  const fingerprint = fingerprintExpression(names)
  if (composites.length === 0) return fingerprint
  return `${fingerprint} || '/' || ${columnsMark(`to_regclass(${names.relation})`, composites)}`
}

/**
 * An expression for a text that changes whenever `resolveSource` would find something else: another table
 * by the name, other columns, another sequence or other settings of it, another partition. The arguments
 * are SQL expressions of the relation's name and the id column's.
 */
function fingerprintExpression({ relation, idColumn }: { relation: string; idColumn: string }): string {
  return `(
    SELECT md5(concat_ws('/', found.oid,
      (SELECT string_agg(concat_ws(' ', attnum, attname, atttypid), ',' ORDER BY attnum)
       FROM pg_attribute WHERE attrelid = found.oid AND attnum > 0 AND NOT attisdropped),
      (SELECT string_agg(concat_ws(' ', s::text, (SELECT c.relfilenode FROM pg_class c WHERE c.oid = s.seqrelid)),
                         ',' ORDER BY s.seqrelid)
       FROM pg_sequence s WHERE s.seqrelid IN (${sequencesOf('found.oid', idColumn)})),
      (SELECT string_agg(part::text, ',' ORDER BY part) FROM (${inheritorsOf('found.oid')}) AS i(part))))
    FROM (SELECT to_regclass(${relation})::oid AS oid) found)`
}

function requireColumn(
  definition: SourceDefinition,
  columns: readonly CatalogColumn[],
  field: string,
  name: string,
): CatalogColumn {
  const column = columns.find((candidate) => candidate.name === name)
  if (column) return column
  throw new SourceError(
    `source ${definition.logType}: ${definition.relation} has no column ${name} (sources.${field})`,
    `Its columns are ${columns.map((candidate) => candidate.name).join(', ')}.`,
  )
}
