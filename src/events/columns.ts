/**
 * Columns → JSON. A value arrives as PostgreSQL's text and leaves as the text of a JSON value that says
 * the same: nothing passes through a float or a `Date` on the way. The rules are DESIGN §5's: `bigint`
 * beyond 2^53 and `numeric` as strings, `bytea` as base64, timestamps as ISO 8601 with all their digits,
 * `json` and `jsonb` as they are. Inside arrays and composites the same holds (structure.ts).
 */
import { quoteJson, readString } from '../../providers/json-text.ts'
import { type Change, type Structure, structureChange, timestampChange } from './structure.ts'
import { isoTimestamp } from './timestamp.ts'

export interface Column {
  readonly name: string
  /** PostgreSQL's name of the type beneath any domain: `bigint`, `timestamp with time zone`, … */
  readonly type: string
  /** What is in an array or composite, which PostgreSQL itself turns into JSON; false for a scalar. */
  readonly structured: Structure | false
}

export type ToJson = (text: string) => string

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** As libpq's PQescapeLiteral: right whatever standard_conforming_strings is. */
export function quoteText(text: string): string {
  const quoted = `'${text.replaceAll("'", "''")}'`
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted
}

/** What to select for a column, so that `jsonOf` finds the text it expects and `sizeExpression` can measure it. */
export function selectExpression(column: Column, alias: string): string {
  const reference = `${alias}.${quoteIdentifier(column.name)}`
  // Unlike to_jsonb it keeps the attributes' order and json as it was written, and takes any json.
  if (column.structured) return `to_json(${reference})::text`
  return measuredAsStored.has(column.type) || shortTypes.has(column.type) ? reference : `${reference}::text`
}

/** Never longer than a few dozen characters; not worth measuring. */
const shortTypes = new Set([
  'smallint',
  'integer',
  'bigint',
  'oid',
  'real',
  'double precision',
  'boolean',
  'date',
  'time without time zone',
  'time with time zone',
  'timestamp with time zone',
  'timestamp without time zone',
  'interval',
  'uuid',
  'inet',
  'cidr',
  'macaddr',
  'macaddr8',
  'money',
  'name',
])

/** Their length is known without writing them out; what is large may stay in its TOAST table until it is read. */
const measuredAsStored = new Set(['text', 'character varying', 'character', 'bytea', 'json'])

/**
 * Bytes of what `selectExpression` selected, cheaply where possible: `octet_length` of text and bytea reads
 * the length from the TOAST pointer, and `json` is as long as its storage unless that is compressed. Anything
 * else is written out once, to be measured and to be sent: `1e131071` is 12 bytes in a numeric or jsonb and
 * 131,072 as text.
 */
export function sizeExpression(column: Column, selected: string): string | undefined {
  if (column.structured) return `coalesce(octet_length(${selected}), 0)`
  if (shortTypes.has(column.type)) return undefined
  if (column.type !== 'json') return `coalesce(octet_length(${selected}), 0)`
  return (
    `coalesce(CASE WHEN pg_column_compression(${selected}) IS NULL ` +
    `THEN pg_column_size(${selected}) ELSE octet_length(${selected}::text) END, 0)`
  )
}

export function jsonOf(column: Column): ToJson {
  if (column.structured) return structured(column.structured)
  switch (column.type) {
    case 'smallint':
    case 'integer':
    case 'oid':
      return asIs
    case 'bigint':
      return bigint
    case 'real':
    case 'double precision':
      return float
    case 'boolean':
      return (text) => (text === 't' ? 'true' : 'false')
    case 'json':
    case 'jsonb':
      return json
    case 'timestamp with time zone':
    case 'timestamp without time zone':
      return (text) => quoteJson(isoTimestamp(text))
    case 'bytea':
      return base64
    default:
      return quoteJson
  }
}

function asIs(text: string): string {
  return text
}

function structured(structure: Structure): ToJson {
  const change = structureChange(structure, changeOf)
  return change ? (text) => change(json(text)) : json
}

/** What to do with what `to_json` writes for a scalar inside. */
function changeOf(type: string): Change | undefined {
  switch (type) {
    case 'bigint':
      return bigint
    case 'numeric':
      // NaN and the infinities are strings already.
      return (json) => (json.startsWith('"') ? json : `"${json}"`)
    case 'oid':
      return readString
    case 'timestamp with time zone':
    case 'timestamp without time zone':
      return timestampChange
    case 'bytea':
      return (json) => base64(readString(json))
    default:
      return undefined
  }
}

function base64(text: string): string {
  return `"${Buffer.from(text.slice(2), 'hex').toString('base64')}"`
}

function bigint(text: string): string {
  // 15 digits are below 2^53 whatever they are.
  if (text.length <= 15 || Number.isSafeInteger(Number(text))) return text
  return `"${text}"`
}

function float(text: string): string {
  const last = text.charCodeAt(text.length - 1)
  // NaN, Infinity and -Infinity end in a letter; JSON has no numbers for them.
  return last >= 48 && last <= 57 ? text : `"${text}"`
}

/** `json` keeps the line breaks it was given, which would break NDJSON; inside strings there are none. */
function json(text: string): string {
  return text.includes('\n') || text.includes('\r') ? text.replace(/[\r\n]/g, ' ') : text
}
