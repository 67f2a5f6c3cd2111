/**
 * Which rows of a source a statement is about, in SQL: a destination's, of a range, in the source's order. `t`
 * stands for the audit table. Everything that reads rows for a destination gets its condition here (I7).
 */
import { type Column, quoteIdentifier } from '../events/columns.ts'
import { stampedSince } from '../events/timestamp.ts'
import { type Bind, type Order, orderOf, type StartMark } from './order.ts'
import type { Position } from './position.ts'
import type { Source } from './source.ts'
import { Tenant } from './tenant.ts'

/** Which rows belong to a destination: its tenant's, and none that are older than the destination. */
export interface Scope {
  /** Null means every tenant's. */
  readonly orgId: string | null
  readonly start?: StartMark
  readonly stamped?: Stamped
}

/** Rows by their timestamps, as texts of PostgreSQL or ISO 8601; a row without one is in no such time. */
export interface Stamped {
  readonly since: string
  /** Exclusive. */
  readonly until?: string
}

export interface Range {
  /** Exclusive. */
  readonly after: Position
  /** Inclusive. */
  readonly upTo: Position
}

export class Selection {
  readonly relation: string
  readonly order: Order
  readonly tenant: Tenant | undefined
  readonly id: Column
  readonly org: Column | undefined
  readonly timestamp: Column
  /** Of a statement that takes one row: nothing where finding the first one would take a scan of the table. */
  readonly inOrder: string
  /** A row's position as text. */
  readonly position: string
  /** A row's timestamp as a column's text. */
  readonly stamp: string

  constructor(source: Source) {
    const { definition, allColumns, relation, ordered } = source
    const named = (name: string) => {
      const column = allColumns.find((candidate) => candidate.name === name)
      if (!column) throw new Error(`column ${name} was checked when the source was resolved`)
      return column
    }
    this.relation = relation
    this.id = named(definition.idColumn)
    this.org = definition.orgColumn === null ? undefined : named(definition.orgColumn)
    this.timestamp = named(definition.timestampColumn)
    this.order = orderOf(this.id, definition.xactColumn === null ? undefined : named(definition.xactColumn))
    this.tenant = this.org && new Tenant(this.org, 't')
    this.inOrder = ordered ? ` ORDER BY ${this.order.keys.join(', ')}` : ''
    this.position = this.order.position ?? `t.${quoteIdentifier(definition.idColumn)}::text`
    this.stamp = `t.${quoteIdentifier(definition.timestampColumn)}::text`
  }

  within({ after, upTo }: Range, bind: Bind): string {
    return `${this.order.after(after, bind)} AND ${this.order.upTo(upTo, bind)}`
  }

  /** The rows of a destination in a range. */
  where(scope: Scope, range: Range, bind: Bind): string {
    return [this.within(range, bind), ...this.belonging(scope, bind)].join(' AND ')
  }

  /** The rows of a destination, wherever they are; conditions that all hold. */
  belonging({ orgId, start, stamped }: Scope, bind: Bind): string[] {
    const conditions: string[] = []
    if (orgId !== null) {
      // The registry refuses a tenant's destination on a source without tenants; this is the second lock (I7).
      const { tenant } = this
      conditions.push(
        tenant?.accepts(orgId) ? `${tenant.expression} = ${bind(orgId)}::${tenant.type}` : 'false',
      )
    }
    if (start) conditions.push(this.order.startedSince(start, bind))
    if (stamped) {
      const { name, type } = this.timestamp
      const since = (instant: string) =>
        stampedSince(type, `t.${quoteIdentifier(name)}`, `${bind(instant)}::text`)
      conditions.push(since(stamped.since))
      if (stamped.until !== undefined) conditions.push(`NOT (${since(stamped.until)})`)
    }
    return conditions
  }
}

/** The parameters of one statement, collected while it is written. */
export function binding(...parameters: string[]): { bind: Bind; parameters: string[] } {
  return { bind: (value) => `$${parameters.push(value)}`, parameters }
}
