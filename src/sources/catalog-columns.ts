/** A table's columns as the catalogue has them, down to what is inside their types. */
import type { SourceSql } from '../db/client.ts'
import type { Column } from '../events/columns.ts'
import type { Content, Structure } from '../events/structure.ts'

export type CatalogColumn = Column & {
  readonly nullable: boolean
  readonly defaultExpression: string | null
}

interface ColumnRow {
  readonly name: string
  readonly type: string
  readonly nullable: string
  readonly default_expression: string | null
}

interface TypeRow {
  readonly oid: string
  readonly name: string
  /** The type beneath a domain. */
  readonly base: string | null
  /** Of an array's elements. */
  readonly element: string | null
  /** Of a composite: JSON of `[[name, type], …]`. */
  readonly attributes: string | null
  /** The relation of its attributes. */
  readonly composite: string | null
  readonly mark: string
}

const livingAttributes = 'attnum > 0 AND NOT attisdropped'
/** What `to_json` makes a JSON array of. */
const elementType = `CASE WHEN t.typsubscript = 'pg_catalog.array_subscript_handler'::regproc THEN t.typelem END`

/** PostgreSQL's own types have OIDs below. */
const firstUserOid = 16_384

/**
 * An expression for a text that changes with the columns and with the composites inside them (the OIDs of
 * their attributes' relations), so that no value is read as what its column was before. What is inside can
 * only become another type by a change of one of these.
 */
export function columnsMark(relation: string, composites: readonly string[]): string {
  return markOf(`IN (${[relation, ...composites].map((each) => `${each}::oid`).join(', ')})`)
}

function markOf(relations: string): string {
  return `(
    SELECT md5(string_agg(concat_ws(' ', attrelid, attnum, attname, atttypid), ',' ORDER BY attrelid, attnum))
    FROM pg_attribute WHERE ${livingAttributes} AND attrelid ${relations})`
}

export interface ColumnsFound {
  /** In the table's order. */
  readonly columns: CatalogColumn[]
  readonly composites: string[]
  readonly mark: string
}

export async function readColumns(sql: SourceSql, relation: string): Promise<ColumnsFound> {
  const rows = await sql.query<ColumnRow>(
    `SELECT a.attname AS name, a.atttypid AS type, NOT (a.attnotnull OR t.typnotnull) AS nullable,
            pg_get_expr(d.adbin, d.adrelid) AS default_expression
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = $1::oid AND ${livingAttributes} ORDER BY a.attnum`,
    [relation],
  )
  // A user's type is named with its schema, or one by the name of PostgreSQL's own could pass for it. The
  // mark is taken in the same look at the catalogue as the types.
  const types = await sql.query<TypeRow>(
    `WITH RECURSIVE inside(oid) AS (
       SELECT atttypid FROM pg_attribute WHERE attrelid = $1::oid AND ${livingAttributes}
       UNION
       SELECT part.oid FROM inside JOIN pg_type t ON t.oid = inside.oid CROSS JOIN LATERAL (
         SELECT t.typbasetype WHERE t.typtype = 'd'
         UNION ALL SELECT ${elementType}
         UNION ALL SELECT atttypid FROM pg_attribute
           WHERE t.typtype = 'c' AND attrelid = t.typrelid AND ${livingAttributes}
       ) part(oid) WHERE part.oid IS NOT NULL
     ), types AS (SELECT t.* FROM inside JOIN pg_type t ON t.oid = inside.oid)
     SELECT t.oid, CASE WHEN t.oid < ${firstUserOid} THEN regexp_replace(format_type(t.oid, NULL), '^pg_catalog[.]', '')
                        ELSE quote_ident(n.nspname) || '.' || quote_ident(t.typname) END AS name,
            CASE WHEN t.typtype = 'd' THEN t.typbasetype END AS base, ${elementType} AS element,
            CASE WHEN t.typtype = 'c' THEN t.typrelid END AS composite,
            CASE WHEN t.typtype = 'c' THEN (
              SELECT coalesce(json_agg(json_build_array(attname, atttypid::text)), '[]')
              FROM pg_attribute WHERE attrelid = t.typrelid AND ${livingAttributes}) END AS attributes,
            ${markOf(`= ANY (ARRAY(SELECT $1::oid UNION SELECT typrelid FROM types WHERE typtype = 'c'))`)} AS mark
     FROM types t JOIN pg_namespace n ON n.oid = t.typnamespace`,
    [relation],
  )
  const typeOf = typeReader(types)
  const columns = rows.map((row) => {
    const { name, content } = typeOf(row.type)
    return {
      name: row.name,
      type: name,
      structured: typeof content === 'string' ? (false as const) : content,
      nullable: row.nullable === 't',
      defaultExpression: row.default_expression,
    }
  })
  const composites = types.flatMap(({ composite }) => composite ?? [])
  return { columns, composites, mark: types[0]?.mark ?? '' }
}

interface TypeFound {
  /** Of the type beneath any domain. */
  readonly name: string
  readonly content: Content
}

/** Looks types up by OID. Each is worked out once, however often it occurs in others. */
function typeReader(rows: readonly TypeRow[]): (oid: string) => TypeFound {
  const byOid = new Map(rows.map((row) => [row.oid, row]))
  const known = new Map<string, TypeFound>()
  const find = (oid: string): TypeFound => {
    const row = byOid.get(oid)
    // The table was changed between two statements: the watcher sees it and looks again.
    if (!row) return { name: `type ${oid}`, content: `type ${oid}` }
    if (row.base !== null) return typeOf(row.base)
    const structure = structureOf(row)
    return { name: row.name, content: structure ?? row.name }
  }
  const typeOf = (oid: string): TypeFound => {
    const found = known.get(oid) ?? find(oid)
    known.set(oid, found)
    return found
  }
  const structureOf = ({ element, attributes }: TypeRow): Structure | undefined => {
    if (element !== null) return { of: typeOf(element).content }
    if (attributes === null) return undefined
    // PostgreSQL built this text in the statement above.
    const pairs = JSON.parse(attributes) as [string, string][]
    return { attributes: new Map(pairs.map(([name, type]) => [name, typeOf(type).content])) }
  }
  return typeOf
}
