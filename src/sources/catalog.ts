/**
 * Looks a registered source up in the database's catalogue, and refuses what could not be read without
 * loss, with the reason and the remedy (`SourceError`).
 */
import type { SourceSql } from '../db/client.ts'
import { SourceError } from '../errors.ts'
import type { Column } from '../events/columns.ts'
import type { Source, SourceDefinition } from './source.ts'

interface ColumnRow {
  readonly name: string
  readonly type: string
  readonly structured: string
  readonly default_expression: string | null
}

interface SequenceRow {
  readonly oid: string
  readonly name: string
  readonly cache: string
  readonly increment: string
  readonly start: string
  readonly cycles: string
}

const integerTypes = new Set(['smallint', 'integer', 'bigint'])
/** What the daemon can read without loss; a foreign table's and a view's writers lock other relations. */
const tableKinds = new Set(['r', 'p'])
const timestampTypes = new Set(['timestamp with time zone', 'timestamp without time zone'])

/** Throws `SourceError` when the source is unusable; other errors are the database's own. */
export async function resolveSource(sql: SourceSql, definition: SourceDefinition): Promise<Source> {
  if (definition.ordering === 'xact') {
    throw new SourceError(
      `source ${definition.logType}: ordering "xact" is not known to this version`,
      'Use ordering "id" for keys drawn from a sequence.',
    )
  }
  const [relation] = await sql.query<RelationRow>(
    `SELECT r.oid::oid AS oid, r.oid::text AS name, (SELECT relkind FROM pg_class c WHERE c.oid = r.oid) AS kind,
            pg_is_in_recovery() AS replica, ${fingerprintExpression({ relation: '$1', idColumn: '$2::name' })} AS fingerprint
     FROM (SELECT to_regclass($1::text) AS oid) r`,
    [definition.relation, definition.idColumn],
  )
  if (relation?.replica === 't') {
    throw new SourceError(
      `source ${definition.logType}: the database is a read replica, where nobody can see which writers are still open; rows would be lost`,
      'Point the source database at the primary.',
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
  const columns = await readColumns(sql, relation.oid)
  const idColumn = requireColumn(definition, columns, 'id_column', definition.idColumn)
  if (!integerTypes.has(idColumn.type)) {
    throw new SourceError(
      `source ${definition.logType}: id_column ${definition.idColumn} is of type ${idColumn.type}, which has no rising order of its own`,
      'Ordering "id" needs smallint, integer or bigint.',
    )
  }
  const timestampColumn = requireColumn(definition, columns, 'timestamp_column', definition.timestampColumn)
  if (!timestampTypes.has(timestampColumn.type)) {
    throw new SourceError(
      `source ${definition.logType}: timestamp_column ${definition.timestampColumn} is of type ${timestampColumn.type}`,
      'Use a column of type timestamptz or timestamp.',
    )
  }
  if (definition.orgColumn !== null) requireColumn(definition, columns, 'org_column', definition.orgColumn)
  for (const name of definition.excludeColumns) requireColumn(definition, columns, 'exclude_columns', name)
  const sequences = await readSequences(sql, relation.oid, definition.idColumn)
  checkSequences(definition, idColumn, sequences)
  const excluded = new Set(definition.excludeColumns)
  return {
    definition,
    relation: relation.name,
    fingerprint: relation.fingerprint,
    allColumns: columns,
    columns: columns.filter(({ name }) => !excluded.has(name)),
    ...(sequences.length > 0
      ? { fence: 'sequence' as const, fenceRelations: sequences.map(({ oid }) => oid) }
      : { fence: 'table' as const, fenceRelations: await readInheritors(sql, relation.oid) }),
  }
}

interface RelationRow {
  readonly oid: string | null
  readonly name: string
  readonly kind: string
  readonly replica: string
  readonly fingerprint: string
}

/**
 * An expression for a text that changes whenever `resolveSource` would find something else: another table
 * by the name, other columns, another sequence or other settings of it, another partition. The arguments
 * are SQL expressions of the relation's name and the id column's.
 */
export function fingerprintExpression({
  relation,
  idColumn,
}: {
  relation: string
  idColumn: string
}): string {
  return `(
    SELECT md5(concat_ws('/', found.oid,
      (SELECT string_agg(concat_ws(' ', attnum, attname, atttypid), ',' ORDER BY attnum)
       FROM pg_attribute WHERE attrelid = found.oid AND attnum > 0 AND NOT attisdropped),
      (SELECT string_agg(s::text, ',' ORDER BY s.seqrelid)
       FROM pg_sequence s WHERE s.seqrelid IN (${sequencesOf('found.oid', idColumn)})),
      (SELECT string_agg(part::text, ',' ORDER BY part) FROM (${inheritorsOf('found.oid')}) AS i(part))))
    FROM (SELECT to_regclass(${relation})::oid AS oid) found)`
}

/** The sequences behind a column: owned by it (serial, identity) or named by its default. */
function sequencesOf(relation: string, column: string): string {
  const attribute = `SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = ${relation} AND a.attname = ${column}`
  return `
    SELECT d.objid FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = ${relation} AND d.refobjsubid = (${attribute}) AND d.deptype IN ('a', 'i')
    UNION
    SELECT d.refobjid FROM pg_attrdef f JOIN pg_depend d
      ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
    WHERE f.adrelid = ${relation} AND f.adnum = (${attribute})`
}

/** The table itself and what inherits from it: reading it reads them, and writing to them locks them alone. */
function inheritorsOf(relation: string): string {
  return `
    WITH RECURSIVE tree AS (
      SELECT ${relation} AS oid
      UNION SELECT h.inhrelid FROM tree JOIN pg_inherits h ON h.inhparent = tree.oid
    ) SELECT oid FROM tree`
}

type CatalogColumn = Column & { readonly defaultExpression: string | null }

async function readColumns(sql: SourceSql, relation: string): Promise<CatalogColumn[]> {
  const rows = await sql.query<ColumnRow>(
    `WITH RECURSIVE based AS (
      SELECT a.attnum, a.attname, t.oid, t.typtype, t.typbasetype, t.typcategory, d.adbin, d.adrelid
      FROM pg_attribute a
      JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
      SELECT b.attnum, b.attname, t.oid, t.typtype, t.typbasetype, t.typcategory, b.adbin, b.adrelid
      FROM based b JOIN pg_type t ON t.oid = b.typbasetype
      WHERE b.typtype = 'd'
    )
    SELECT attname AS name, format_type(oid, NULL) AS type, typcategory IN ('A', 'C') AS structured,
           pg_get_expr(adbin, adrelid) AS default_expression
    FROM based WHERE typtype <> 'd' ORDER BY attnum`,
    [relation],
  )
  return rows.map((row) => ({
    name: row.name,
    type: row.type,
    structured: row.structured === 't',
    defaultExpression: row.default_expression,
  }))
}

function readSequences(sql: SourceSql, relation: string, column: string): Promise<SequenceRow[]> {
  return sql.query<SequenceRow>(
    `SELECT s.seqrelid AS oid, s.seqrelid::regclass::text AS name, s.seqcache AS cache,
            s.seqincrement AS increment, s.seqstart AS start, s.seqcycle AS cycles
     FROM pg_sequence s WHERE s.seqrelid IN (${sequencesOf('$1::oid', '$2::name')})`,
    [relation, column],
  )
}

async function readInheritors(sql: SourceSql, relation: string): Promise<string[]> {
  const rows = await sql.query<{ oid: string }>(inheritorsOf('$1::oid'), [relation])
  return rows.map(({ oid }) => oid)
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

function checkSequences(
  definition: SourceDefinition,
  idColumn: CatalogColumn,
  sequences: readonly SequenceRow[],
): void {
  for (const sequence of sequences) {
    if (Number(sequence.cache) > 1) {
      throw new SourceError(
        `source ${definition.logType}: sequence ${sequence.name} has CACHE ${sequence.cache}, so sessions draw ids in blocks and use them later; rows would be lost`,
        `ALTER SEQUENCE ${sequence.name} CACHE 1 (sessions that hold a block must reconnect).`,
      )
    }
    if (Number(sequence.increment) < 1 || Number(sequence.start) < 1) {
      throw new SourceError(
        `source ${definition.logType}: sequence ${sequence.name} does not rise from a positive start (START ${sequence.start} INCREMENT ${sequence.increment})`,
        'Use a sequence that counts upwards from 1 or more.',
      )
    }
    if (sequence.cycles === 't') {
      throw new SourceError(
        `source ${definition.logType}: sequence ${sequence.name} starts again when it has come to its end (CYCLE), below what was read already`,
        `ALTER SEQUENCE ${sequence.name} NO CYCLE.`,
      )
    }
  }
  if (sequences.length === 0 && idColumn.defaultExpression?.includes('nextval(')) {
    throw new SourceError(
      `source ${definition.logType}: the default of ${definition.idColumn}, ${idColumn.defaultExpression}, names its sequence in a way that PostgreSQL does not track`,
      "Write the default as nextval('the_sequence'::regclass).",
    )
  }
}
