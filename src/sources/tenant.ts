/**
 * How a tenant's rows are told by the source's org column (I7). A destination's `org_id` is text; the column
 * may be a uuid or a number. Only the text that PostgreSQL itself would write for a value names it: another
 * spelling, or text that is no such value, has no rows, rather than an error that would stop others too.
 */
import { type Column, quoteIdentifier } from '../events/columns.ts'

const integer = { type: 'bigint', spelling: /^(0|-?[1-9]\d{0,17})$/ }
const kinds = new Map([
  ['uuid', { type: 'uuid', spelling: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/ }],
  ['smallint', integer],
  ['integer', integer],
  ['bigint', integer],
])

/** Compared as they are, so that an index on them serves. */
const textTypes = new Set(['text', 'character varying'])

export class Tenant {
  /** The SQL expression to compare, and the type to compare it in. */
  readonly expression: string
  readonly type: string
  readonly #spelling: RegExp | undefined

  constructor(column: Column, alias: string) {
    const reference = `${alias}.${quoteIdentifier(column.name)}`
    const kind = kinds.get(column.type)
    this.type = kind?.type ?? 'text'
    this.#spelling = kind?.spelling
    this.expression = kind || textTypes.has(column.type) ? reference : `${reference}::text`
  }

  /** Whether there can be rows of it. */
  accepts(orgId: string): boolean {
    return this.#spelling?.test(orgId) ?? true
  }
}
