import { expect, it } from 'vitest'
import { pick, seedOf } from '../../support/random.ts'
import type { Transaction } from '../../support/recipes/application.ts'
import { arrived, eventsAt, exact, type Written } from '../../support/recipes/ledger.ts'
import { openRecipe, recipeTimeoutMs } from '../../support/recipes/scene.ts'

const seed = seedOf()

it(
  `follows the page while Rails writes audits in its requests' transactions (seed ${seed})`,
  async () => {
    const recipe = await openRecipe({
      path: 'recipes/rails.md',
      schema: 'rails.sql',
      prepare: (sql) =>
        sql`INSERT INTO accounts SELECT n, 'account', now(), now() FROM unnest(ARRAY[7, 42, 420]) n`,
      seed,
      processes: 5,
      transaction: request,
      org: '42',
    })
    const { sql, receiver, ledger, application: rails, page, addDestination, arrive } = recipe
    await rails.committed(30)

    const made = await addDestination()
    await page.followTo('skipped_ranges')
    await rails.committed(50)
    await rails.stop()
    const last = await rails.write(async (tx) => {
      const rows = []
      for (const account of [7, 42]) rows.push(...(await insert(tx, [audit(account)])))
      return rows
    })
    await arrive(last)

    const everything = eventsAt(receiver.requests, '/operations')
    expect(ledger.account(everything, null)).toEqual(exact)
    expect(ledger.account(eventsAt(receiver.requests, '/acme'), '42', made)).toEqual(exact)
    expect(new Set(everything.map(({ org_id }) => org_id))).toEqual(new Set(['7', '42', '420', null]))

    // A job that deletes the oldest rows, before they were sent.
    receiver.always({ status: 503 })
    const [unsent] = await rails.write((tx) => insert(tx, [audit(42)]))
    await page.daemon.logged('destination.backing_off', ({ name }) => name === 'account 42')
    await sql`DELETE FROM audits WHERE id <= ${unsent?.data.id as number}`
    receiver.always({ status: 200 })
    await arrived(
      receiver,
      '/acme',
      (await rails.write((tx) => insert(tx, [audit(42)]))).map(({ id }) => id),
    )
    await page.daemon.logged('events.deleted_at_source', ({ name }) => name === 'account 42')
    const { rows } = await page.step()
    expect(rows?.map(({ to_position }) => to_position)).toContain(String(unsent?.data.id))
    await page.finish()
    await page.daemon.stop()
  },
  recipeTimeoutMs,
)

/** Business first, audits along the way, and one more at the end: ids are drawn long before the commit. */
const request: Transaction = async (tx, { random, pause }) => {
  const account = random() < 0.2 ? null : pick(random, [7, 42, 42, 420])
  const written = await insert(tx, [audit(account)])
  await pause()
  await tx`UPDATE accounts SET updated_at = now() WHERE id = -1`
  const more = Array.from({ length: Math.floor(random() * 5) }, () => audit(account))
  if (more.length > 0) written.push(...(await insert(tx, more)))
  return written
}

interface Audit {
  readonly account_id: number | null
  readonly created_at: string
  readonly audited_changes: Readonly<Record<string, readonly (string | null)[]>>
  readonly [column: string]: unknown
}

function audit(account: number | null): Audit {
  // As Rails writes it: UTC with six digits and no zone.
  const created_at = new Date().toISOString().replace('T', ' ').replace('Z', '321')
  return {
    account_id: account,
    auditable_type: 'Invoice',
    auditable_id: 9,
    associated_type: null,
    associated_id: null,
    user_type: 'User',
    user_id: 3,
    username: null,
    action: 'update',
    audited_changes: { amount: ['10.0', '12.5'], note: [null, 'Grüße ✓'] },
    version: 2,
    comment: 'for the auditors alone',
    remote_address: '203.0.113.9',
    request_uuid: '0b9c8f0e-5d1b-4a3e-9d55-0f2a3a1c7f11',
    created_at,
  }
}

async function insert(tx: Parameters<Transaction>[0], rows: readonly Audit[]): Promise<Written[]> {
  const made = await tx<{ id: string }[]>`
    INSERT INTO audits ${tx(rows.map((row) => ({ ...row, audited_changes: tx.json(row.audited_changes) })))}
    RETURNING id`
  return rows.map((row, index) => {
    const id = Number(made[index]?.id)
    const { comment: _, ...kept } = row
    // PostgreSQL writes no zeros at the end of a fraction.
    const created_at = row.created_at.replace(' ', 'T').replace(/\.?0+$/, '')
    return {
      id: `audit:${id}`,
      org_id: row.account_id === null ? null : String(row.account_id),
      timestamp: `${created_at}Z`,
      data: { id, ...kept, created_at },
    }
  })
}
