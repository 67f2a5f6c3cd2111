/**
 * Looks a registered source up in the database's catalogue, and refuses what could not be read without
 * loss, with the reason and the remedy (`SourceError`).
 */
import type { TextSql } from '../db/client.ts'
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
}

const integerTypes = new Set(['smallint', 'integer', 'bigint'])
const timestampTypes = new Set(['timestamp with time zone', 'timestamp without time zone'])

/** Throws `SourceError` when the source is unusable; other errors are the database's own. */
export async function resolveSource(sql: TextSql, definition: SourceDefinition): Promise<Source> {
  if (definition.ordering === 'xact') {
    throw new SourceError(
      `source ${definition.logType}: ordering "xact" is not known to this version`,
      'Use ordering "id" for keys drawn from a sequence.',
    )
  }
  const [relation] = await sql<{ oid: string | null; name: string }[]>`
    SELECT to_regclass(${definition.relation})::oid AS oid, to_regclass(${definition.relation})::text AS name`
  if (!relation?.oid) {
    throw new SourceError(
      `source ${definition.logType}: there is no relation ${definition.relation} that this role can see`,
      'Set sources.relation to the table as it is written in SQL, e.g. public."auditLog", or grant USAGE on its schema.',
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
    allColumns: columns,
    columns: columns.filter(({ name }) => !excluded.has(name)),
    ...(sequences.length > 0
      ? { fence: 'sequence' as const, fenceRelations: sequences.map(({ oid }) => oid) }
      : { fence: 'table' as const, fenceRelations: await readPartitions(sql, relation.oid) }),
  }
}

type CatalogColumn = Column & { readonly defaultExpression: string | null }

async function readColumns(sql: TextSql, relation: string): Promise<CatalogColumn[]> {
  const rows = await sql<ColumnRow[]>`
    WITH RECURSIVE based AS (
      SELECT a.attnum, a.attname, t.oid, t.typtype, t.typbasetype, t.typcategory, d.adbin, d.adrelid
      FROM pg_attribute a
      JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = ${relation}::oid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
      SELECT b.attnum, b.attname, t.oid, t.typtype, t.typbasetype, t.typcategory, b.adbin, b.adrelid
      FROM based b JOIN pg_type t ON t.oid = b.typbasetype
      WHERE b.typtype = 'd'
    )
    SELECT attname AS name, format_type(oid, NULL) AS type, typcategory IN ('A', 'C') AS structured,
           pg_get_expr(adbin, adrelid) AS default_expression
    FROM based WHERE typtype <> 'd' ORDER BY attnum`
  return rows.map((row) => ({
    name: row.name,
    type: row.type,
    structured: row.structured === 't',
    defaultExpression: row.default_expression,
  }))
}

/** The sequences behind a column: owned by it (serial, identity) or named by its default. */
function readSequences(sql: TextSql, relation: string, column: string): Promise<SequenceRow[]> {
  return sql<SequenceRow[]>`
    WITH col AS (
      SELECT attrelid, attnum FROM pg_attribute WHERE attrelid = ${relation}::oid AND attname = ${column}
    ), found AS (
      SELECT d.objid AS oid FROM col JOIN pg_depend d
        ON d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = col.attrelid AND d.refobjsubid = col.attnum AND d.deptype IN ('a', 'i')
      UNION
      SELECT d.refobjid FROM col
        JOIN pg_attrdef f ON f.adrelid = col.attrelid AND f.adnum = col.attnum
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
        AND d.refclassid = 'pg_class'::regclass
    )
    SELECT s.seqrelid AS oid, s.seqrelid::regclass::text AS name, s.seqcache AS cache,
           s.seqincrement AS increment, s.seqstart AS start
    FROM pg_sequence s JOIN found ON found.oid = s.seqrelid`
}

/** The table itself and, where it is partitioned, its partitions. */
async function readPartitions(sql: TextSql, relation: string): Promise<string[]> {
  const rows = await sql<{ oid: string }[]>`
    SELECT ${relation}::oid AS oid UNION SELECT relid::oid FROM pg_partition_tree(${relation}::oid::regclass)`
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
  }
  if (sequences.length === 0 && idColumn.defaultExpression?.includes('nextval(')) {
    throw new SourceError(
      `source ${definition.logType}: the default of ${definition.idColumn}, ${idColumn.defaultExpression}, names its sequence in a way that PostgreSQL does not track`,
      "Write the default as nextval('the_sequence'::regclass).",
    )
  }
}
