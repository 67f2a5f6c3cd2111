import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { pick, seedOf } from '../../support/random.ts'
import { startReceiver } from '../../support/receiver.ts'
import { startApplication, type Transaction } from '../../support/recipes/application.ts'
import { arrived, eventsAt, exact, Ledger, type Written } from '../../support/recipes/ledger.ts'
import { Page } from '../../support/recipes/page.ts'

/** A page runs a dozen commands, each a process of its own. */
const timeoutMs = 240_000
const seed = seedOf()
const schema = readFileSync(new URL('../../support/recipes/rails.sql', import.meta.url), 'utf8')

it(
  `follows the page while Rails writes audits in its requests' transactions (seed ${seed})`,
  async () => {
    const { url, sql } = await createTestDatabase({ empty: true })
    const receiver = await startReceiver()
    whenDone(() => receiver.close())
    await sql.unsafe(schema)
    await sql`INSERT INTO accounts SELECT n, 'account', now(), now() FROM unnest(ARRAY[7, 42, 420]) n`
    const ledger = new Ledger()
    const rails = startApplication({ url, ledger, seed, processes: 5, transaction: request })
    await rails.committed(30)

    const page = new Page({
      path: 'recipes/rails.md',
      sql,
      env: { DATABASE_URL: url, SPILLWAY_INTER_BATCH_DELAY_MS: '0', SPILLWAY_BACKOFF_SCHEDULE_MS: '100' },
      replace: { 'https://siem.example.com': receiver.url },
    })
    await page.followTo('INSERT INTO spillway.destinations')
    const began = performance.now()
    await page.step()
    const made = { began, ended: performance.now() }
    await page.followTo('skipped_ranges')
    await rails.committed(50)
    await rails.stop()
    const last = await rails.write(async (tx) => {
      const rows = []
      for (const account of [7, 42]) rows.push(...(await insert(tx, [audit(account)])))
      return rows
    })
    await arrived(
      receiver,
      '/operations',
      last.map(({ id }) => id),
    )
    await arrived(
      receiver,
      '/acme',
      last.filter(({ org_id }) => org_id === '42').map(({ id }) => id),
    )

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
  timeoutMs,
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
