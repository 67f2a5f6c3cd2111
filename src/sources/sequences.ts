/**
 * The sequences behind a table's ids, and the tables that its rows are in: SQL for the catalogue, and what is
 * refused of it.
 */
import type { SourceSql } from '../db/client.ts'
import { SourceError } from '../errors.ts'
import type { Part, SourceDefinition } from './source.ts'

export interface Sequence {
  readonly oid: string
  readonly name: string
  readonly cache: string
  readonly increment: string
  readonly start: string
  readonly cycles: string
  /** `t` when ids are drawn from it by themselves: by a default or an identity. */
  readonly feeds: string
  /** Changes when the sequence is started anew. */
  readonly file: string
  /** `t` when this role may ask how far it is. */
  readonly readable: string
}

/**
 * The table itself and what inherits from it: reading it reads them, and writing to them locks them alone.
 * The argument is an SQL expression of the table's OID.
 */
export function inheritorsOf(relation: string): string {
  return `
    WITH RECURSIVE tree AS (
      SELECT ${relation} AS oid
      UNION SELECT h.inhrelid FROM tree JOIN pg_inherits h ON h.inhparent = tree.oid
    ) SELECT oid FROM tree`
}

/**
 * The sequences behind a column, in the table or in one of its partitions: owned by it (serial, identity) or
 * named by its default. The arguments are SQL expressions of the table's OID and the column's name.
 */
export function sequencesOf(relation: string, column: string): string {
  return `SELECT seq.oid FROM (${sequencesAndUse(relation, column)}) AS seq`
}

/** `feeds`: ids are drawn from it by themselves, not only where somebody asks it. */
function sequencesAndUse(relation: string, column: string): string {
  return `
    WITH columns AS (
      SELECT a.attrelid, a.attnum,
             (SELECT f.oid FROM pg_attrdef f WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum) AS expression
      FROM (${inheritorsOf(relation)}) AS i(oid)
      JOIN pg_attribute a ON a.attrelid = i.oid AND a.attname = ${column}
    ), used AS (
      SELECT d.refobjid AS oid, true AS feeds FROM columns c JOIN pg_depend d
        ON d.classid = 'pg_attrdef'::regclass AND d.objid = c.expression AND d.refclassid = 'pg_class'::regclass
      UNION ALL
      SELECT d.objid, c.expression IS NULL FROM columns c JOIN pg_depend d
        ON d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = c.attrelid AND d.refobjsubid = c.attnum AND d.deptype IN ('a', 'i')
    )
    SELECT u.oid, bool_or(u.feeds) AS feeds FROM used u JOIN pg_class s ON s.oid = u.oid AND s.relkind = 'S'
    GROUP BY u.oid`
}

export function readSequences(sql: SourceSql, relation: string, column: string): Promise<Sequence[]> {
  return sql.query<Sequence>(
    `SELECT s.seqrelid AS oid, s.seqrelid::regclass::text AS name, s.seqcache AS cache,
            s.seqincrement AS increment, s.seqstart AS start, s.seqcycle AS cycles, u.feeds,
            (SELECT c.relfilenode FROM pg_class c WHERE c.oid = s.seqrelid) AS file,
            has_sequence_privilege(s.seqrelid, 'SELECT, USAGE') AS readable
     FROM (${sequencesAndUse('$1::oid', '$2::name')}) AS u JOIN pg_sequence s ON s.seqrelid = u.oid
     ORDER BY s.seqrelid`,
    [relation, column],
  )
}

/** The table itself first. */
export async function readParts(sql: SourceSql, relation: string): Promise<Part[]> {
  return sql.query<Part>(
    `SELECT i.oid, i.oid::regclass::text AS name FROM (${inheritorsOf('$1::oid')}) AS i(oid)
     ORDER BY i.oid <> $1::oid, i.oid`,
    [relation],
  )
}

/** Throws `SourceError` where ids do not rise in the order in which they are drawn. */
export function checkSequences(
  { logType, idColumn }: SourceDefinition,
  defaultExpression: string | null,
  sequences: readonly Sequence[],
): void {
  for (const sequence of sequences) {
    if (Number(sequence.cache) > 1) {
      throw new SourceError(
        `source ${logType}: sequence ${sequence.name} has CACHE ${sequence.cache}, so sessions draw ids in blocks and use them later; rows would be lost`,
        `ALTER SEQUENCE ${sequence.name} CACHE 1 (sessions that hold a block must reconnect), or use the ordering "xact".`,
      )
    }
    if (Number(sequence.increment) < 1 || Number(sequence.start) < 1) {
      throw new SourceError(
        `source ${logType}: sequence ${sequence.name} does not rise from a positive start (START ${sequence.start} INCREMENT ${sequence.increment})`,
        'Use a sequence that counts upwards from 1 or more, or the ordering "xact".',
      )
    }
    if (sequence.cycles === 't') {
      throw new SourceError(
        `source ${logType}: sequence ${sequence.name} starts again when it has come to its end (CYCLE), below what was read already`,
        `ALTER SEQUENCE ${sequence.name} NO CYCLE.`,
      )
    }
  }
  const feeding = sequences.filter(({ feeds }) => feeds === 't')
  if (feeding.length > 1) {
    const names = feeding.map(({ name }) => name).join(', ')
    throw new SourceError(
      `source ${logType}: ids come from more than one sequence (${names}), so that they neither rise with time nor are one row's own; rows would be lost`,
      `Let every partition draw from the same one: ALTER TABLE … ALTER COLUMN ${idColumn} SET DEFAULT nextval('${feeding[0]?.name}').`,
    )
  }
  if (sequences.length === 0 && defaultExpression?.includes('nextval(')) {
    throw new SourceError(
      `source ${logType}: the default of ${idColumn}, ${defaultExpression}, names its sequence in a way that PostgreSQL does not track`,
      "Write the default as nextval('the_sequence'::regclass).",
    )
  }
}
