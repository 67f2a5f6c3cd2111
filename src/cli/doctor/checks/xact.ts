/** The column with the writing transaction, of sources with the ordering `xact`. */
import { quoteIdentifier } from '../../../events/columns.ts'
import { type Finding, fine, problem, warning } from '../finding.ts'
import type { FoundSource, Patient } from '../patient.ts'

export async function checkXact(
  { source: { sql } }: Patient,
  { source, subject }: FoundSource,
): Promise<Finding[]> {
  const { ordering, xactColumn, relation } = source.definition
  if (ordering !== 'xact' || xactColumn === null) return []
  const [column] = await sql<{ expression: string | null; trigger: string | null }[]>`
    SELECT (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d
            WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) AS expression,
           -- Before, for each row, on INSERT: bits 1, 0 and 2 of tgtype.
           (SELECT string_agg(quote_ident(t.tgname), ', ') FROM pg_trigger t
            WHERE t.tgrelid = a.attrelid AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 7 = 7) AS trigger
    FROM pg_attribute a WHERE a.attrelid = to_regclass(${relation}) AND a.attname = ${xactColumn}`
  if (/\bpg_current_xact_id\(\)/.test(column?.expression ?? '')) {
    return [fine('xact', subject, `${xactColumn} gets the transaction by its default.`)]
  }
  const name = quoteIdentifier(xactColumn)
  const remedy = `ALTER TABLE ${relation} ALTER COLUMN ${name} SET DEFAULT pg_current_xact_id();`
  const has = column?.expression ? `the default ${column.expression}` : 'no default'
  if (column?.trigger) {
    const message = `${name} has ${has}. The trigger ${column.trigger} may set it; if it does not, rows are passed over.`
    return [warning('xact.default', subject, message, remedy)]
  }
  const message = `${name} has ${has}, so that it holds whatever the writer puts there; rows with an earlier transaction are passed over.`
  return [problem('xact.default', subject, message, remedy)]
}
