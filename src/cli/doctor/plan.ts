/** What PostgreSQL would do for the statements with which the daemon reads a source. Nothing is executed. */
import type { Sql } from '../../db/client.ts'
import { quoteIdentifier, quoteText } from '../../events/columns.ts'
import { type Order, orderOf } from '../../sources/order.ts'
import { origin } from '../../sources/position.ts'
import type { Source } from '../../sources/source.ts'
import { Tenant } from '../../sources/tenant.ts'

/** A node of EXPLAIN (FORMAT JSON). */
export interface PlanNode {
  readonly 'Node Type': string
  readonly Filter?: string
  readonly 'Presorted Key'?: readonly string[]
  readonly 'Sort Key'?: readonly string[]
  readonly Plans?: readonly PlanNode[]
}

const pageRows = 250

/** The daemon's page statement and what belongs to it. */
export class PageStatements {
  readonly #source: Source
  readonly order: Order
  readonly tenant: Tenant | undefined

  constructor(source: Source) {
    const { definition, allColumns } = source
    const named = (name: string) => {
      const column = allColumns.find((candidate) => candidate.name === name)
      if (!column) throw new Error(`column ${name} was checked when the source was resolved`)
      return column
    }
    this.#source = source
    this.order = orderOf(
      named(definition.idColumn),
      definition.xactColumn === null ? undefined : named(definition.xactColumn),
    )
    this.tenant = definition.orgColumn === null ? undefined : new Tenant(named(definition.orgColumn), 't')
  }

  /** Everybody's rows in order. */
  get ofAll(): string {
    return this.#page([], this.order.keys)
  }

  /** One org's. As the daemon's parameter, its name is kept from the planner: the plan has to serve any org. */
  ofOrg(tenant: Tenant, org: string): string {
    const condition = `${tenant.expression} = (SELECT ${quoteText(org)}::${tenant.type})`
    return this.#page([condition], this.order.keys)
  }

  /** Every org's rows, org by org: only an index that leads with the org has them in this order. */
  byOrg(tenant: Tenant): string {
    return this.#page([], [tenant.expression, ...this.order.keys])
  }

  /** As an index has to name them. */
  indexKeys(tenant?: Tenant): string {
    return [...(tenant ? [tenant.expression] : []), ...this.order.keys].map(indexKey).join(', ')
  }

  #page(conditions: readonly string[], order: readonly string[]): string {
    const columns = this.#source.columns.map(({ name }) => `t.${quoteIdentifier(name)}`)
    const { definition, relation } = this.#source
    const upTo = definition.ordering === 'id' ? '9223372036854775807' : '18446744073709551615'
    const range = [this.order.after(origin, quoteText), this.order.upTo(upTo, quoteText)]
    return (
      `SELECT ${columns.join(', ')} FROM ${relation} t WHERE ${[...range, ...conditions].join(' AND ')} ` +
      `ORDER BY ${order.join(', ')} LIMIT ${pageRows}`
    )
  }
}

function indexKey(key: string): string {
  const own = key.replace(/^t\./, '')
  return own.includes('::') ? `(${own})` : own
}

/**
 * The plan that is left when PostgreSQL may neither read the whole table nor sort: on a small table it would
 * choose that whatever indexes there are.
 */
export async function explain(sql: Sql, statement: string): Promise<PlanNode> {
  const rows = await sql.begin('read only', async (transaction) => {
    await transaction`
      SELECT set_config(name, 'off', true)
      FROM unnest(ARRAY['enable_seqscan', 'enable_bitmapscan', 'enable_sort', 'jit']) AS name`
    await transaction`SELECT set_config('standard_conforming_strings', 'on', true)`
    return transaction.unsafe<{ 'QUERY PLAN': unknown }[]>(`EXPLAIN (FORMAT JSON, COSTS OFF) ${statement}`)
  })
  const answer = rows[0]?.['QUERY PLAN']
  const parsed = (typeof answer === 'string' ? JSON.parse(answer) : answer) as { Plan: PlanNode }[]
  const plan = parsed[0]?.Plan
  if (!plan) throw new Error('EXPLAIN gave no plan')
  return plan
}

/**
 * Whether rows come in order by themselves. `loose` sort keys at the end may be sorted among equals: of the
 * ordering `xact` the rows of one transaction.
 */
export function isInOrder(plan: PlanNode, loose: number): boolean {
  return everyNode(plan, (node) => {
    if (node['Node Type'] === 'Sort') return false
    if (node['Node Type'] !== 'Incremental Sort') return true
    return (node['Presorted Key']?.length ?? 0) >= (node['Sort Key']?.length ?? 0) - loose
  })
}

/** Whether no row is looked at that is not wanted. */
export function readsOnlyWanted(plan: PlanNode): boolean {
  return everyNode(plan, (node) => node.Filter === undefined && !/Seq Scan|Bitmap/.test(node['Node Type']))
}

function everyNode(node: PlanNode, holds: (node: PlanNode) => boolean): boolean {
  return holds(node) && (node.Plans ?? []).every((child) => everyNode(child, holds))
}
