import { expect, it } from 'vitest'
import { pick, type Random, seedOf } from '../../support/random.ts'
import type { Transaction } from '../../support/recipes/application.ts'
import { arrived, eventsAt, exact, type Written } from '../../support/recipes/ledger.ts'
import { openRecipe, recipeTimeoutMs } from '../../support/recipes/scene.ts'

const seed = seedOf()

it(
  `follows the page while months come and go under the daemon (seed ${seed})`,
  async () => {
    /** The application's clock: months go by in seconds. */
    let month = '2026-01'
    const writing: Transaction = async (tx, { random, pause }) => {
      const written = await insert(tx, 'audit_events', rowsOf(month, random))
      await pause()
      const leaf = straightInto[month]
      if (leaf && random() < 0.5) written.push(...(await insert(tx, leaf, rowsOf(month, random))))
      return written
    }
    const recipe = await openRecipe({
      path: 'recipes/monthly-partitions.md',
      schema: 'monthly.sql',
      seed,
      processes: 5,
      transaction: writing,
      org: 'acme',
    })
    const { sql, receiver, ledger, application, page, addDestination, arrive } = recipe
    await application.committed(30)

    await page.followTo('indisvalid')
    expect((await page.step()).rows).toEqual([{ relname: 'audit_events_org', indisvalid: true }])
    const made = await addDestination()
    await page.followTo('CREATE TABLE audit_events_2026_03')
    for (const next of ['2026-02', '2026-03', '2026-04']) {
      if (next !== '2026-02') await page.step()
      month = next
      await application.committed(60)
    }
    // January is over, and everybody has got it: the query of the page says so.
    const january = ledger.ids(({ timestamp }) => timestamp.startsWith('2026-01'))
    await arrived(receiver, '/operations', january)
    await page.followTo('DETACH PARTITION')
    await page.step()
    await application.committed(60)
    await application.stop()
    const writeLast = () =>
      application.write(async (tx, { random }) =>
        insert(
          tx,
          'audit_events',
          ['globex', 'acme'].map((org) => rowOf('2026-04', org, random)),
        ),
      )
    await arrive(await writeLast())

    expect(ledger.account(eventsAt(receiver.requests, '/operations'), null)).toEqual(exact)
    expect(ledger.account(eventsAt(receiver.requests, '/acme'), 'acme', made)).toEqual(exact)
    expect(await sql`SELECT FROM spillway.skipped_ranges`).toHaveLength(0)

    // A month that is dropped while rows of it wait is on the record.
    await sql`DROP TABLE audit_events_2026_02, audit_events_2026_03`
    receiver.always({ status: 503 })
    const unsent = await writeLast()
    await page.daemon.logged('destination.backing_off', ({ name }) => name === 'acme siem')
    await sql`ALTER TABLE audit_events DETACH PARTITION audit_events_2026_04`
    await sql`CREATE TABLE audit_events_2026_05 PARTITION OF audit_events FOR VALUES FROM ('2026-05-01') TO ('2026-06-01')`
    receiver.always({ status: 200 })
    await arrive(
      await application.write(async (tx, { random }) =>
        insert(
          tx,
          'audit_events',
          ['globex', 'acme'].map((org) => rowOf('2026-05', org, random)),
        ),
      ),
    )
    expect(
      await page.daemon.logged('events.deleted_at_source', ({ name }) => name === 'acme siem'),
    ).toMatchObject({ level: 'warn', log_type: 'audit' })
    const { rows } = await page.step()
    expect(rows?.map(({ to_position }) => to_position)).toContain(String(unsent.at(-1)?.data.id))
    await page.finish()
    await page.daemon.stop()
  },
  recipeTimeoutMs,
)

/** Leaves that take rows of any tenant. */
const straightInto: Readonly<Record<string, string>> = {
  '2026-01': 'audit_events_2026_01',
  '2026-02': 'audit_events_2026_02',
  '2026-03': 'audit_events_2026_03',
  '2026-04': 'audit_events_2026_04',
}

interface Row {
  readonly org_id: string
  readonly created_at: string
  readonly actor: string
  readonly action: string
  readonly details: { readonly ip: string; readonly amount: number }
}

function rowsOf(month: string, random: Random): Row[] {
  return Array.from({ length: 1 + Math.floor(random() * 5) }, () =>
    rowOf(month, pick(random, ['acme', 'globex', 'initech', 'system']), random),
  )
}

function rowOf(month: string, org: string, random: Random): Row {
  const day = String(1 + Math.floor(random() * 28)).padStart(2, '0')
  return {
    org_id: org,
    created_at: `${month}-${day}T12:30:00.000Z`,
    actor: 'ada',
    action: 'invoice.paid',
    details: { ip: '203.0.113.9', amount: 12.5 },
  }
}

async function insert(
  tx: Parameters<Transaction>[0],
  table: string,
  rows: readonly Row[],
): Promise<Written[]> {
  const made = await tx<{ id: string }[]>`
    INSERT INTO ${tx(table)} ${tx(rows.map((row) => ({ ...row, details: tx.json(row.details) })))} RETURNING id`
  return rows.map((row, index) => {
    const id = Number(made[index]?.id)
    const created_at = row.created_at.replace('.000', '')
    return { id: `audit:${id}`, org_id: row.org_id, timestamp: created_at, data: { id, ...row, created_at } }
  })
}
