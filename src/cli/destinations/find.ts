/** The destination that somebody means by an id or a name. */
import { eq } from 'drizzle-orm'
import type { Sql } from '../../db/client.ts'
import { destinations } from '../../db/schema.ts'
import { typed } from '../../db/typed.ts'
import type { DestinationRow } from '../../destinations/destination.ts'
import { CommandError } from '../command.ts'

const seeList = '`spillway destinations list` shows which there are.'

/** An id goes before a name of digits. Throws `CommandError` when there is none, or more than one. */
export async function findDestination(sql: Sql, idOrName: string): Promise<DestinationRow> {
  const byId = /^[1-9]\d{0,14}$/.test(idOrName) ? await select(sql, { id: Number(idOrName) }) : []
  const found = byId.length > 0 ? byId : await select(sql, { name: idOrName })
  const [first, ...others] = found
  if (first === undefined) throw new CommandError(`There is no destination "${idOrName}".`, seeList)
  if (others.length > 0) {
    const list = found.map(({ id, orgId }) => `${id} (${orgText(orgId)})`).join(', ')
    throw new CommandError(
      `${found.length} destinations have the name "${idOrName}": ${list}.`,
      'Name the one you mean by its id.',
    )
  }
  return first
}

export function orgText(orgId: string | null): string {
  return orgId === null ? 'all orgs' : `org ${orgId}`
}

async function select(sql: Sql, by: { readonly id: number } | { readonly name: string }) {
  const condition = 'id' in by ? eq(destinations.id, by.id) : eq(destinations.name, by.name)
  const rows = await typed(sql).select().from(destinations).where(condition).orderBy(destinations.id)
  return rows.map(
    (row): DestinationRow => ({
      ...row,
      createdAt: row.createdAt.getTime(),
      revision: String(row.version),
    }),
  )
}
