import { expect, it } from 'vitest'
import { pick, type Random, seeded, seedOf } from '../../support/random.ts'
import type { Transaction } from '../../support/recipes/application.ts'
import { arrived, eventsAt, exact, type Written } from '../../support/recipes/ledger.ts'
import { openRecipe, recipeTimeoutMs } from '../../support/recipes/scene.ts'

const seed = seedOf()
const acme = 'cm7org0acme'
const globex = 'cm7org0globex'

it(
  `follows the page while Prisma writes rows with cuid keys (seed ${seed})`,
  async () => {
    const recipe = await openRecipe({
      path: 'recipes/prisma.md',
      schema: 'prisma.sql',
      prepare: (sql) => sql`INSERT INTO "Organization" VALUES (${acme}, 'Acme'), (${globex}, 'Globex')`,
      seed,
      processes: 5,
      transaction: interactive,
      org: acme,
    })
    const { sql, receiver, ledger, application: prisma, page, addDestination, arrive } = recipe
    await prisma.committed(30)

    const made = await addDestination()
    await page.followTo('skipped_ranges')
    await prisma.committed(50)
    await prisma.stop()
    const last = await prisma.write((tx, { random }) => insert(tx, [log(acme, random), log(globex, random)]))
    await arrive(last)

    expect(ledger.account(eventsAt(receiver.requests, '/operations'), null)).toEqual(exact)
    expect(ledger.account(eventsAt(receiver.requests, '/acme'), acme, made)).toEqual(exact)
    // The page's indexes are the ones that reading uses.
    const [{ plan } = { plan: '' }] = await sql.begin(async (tx) => {
      await tx`SET LOCAL enable_sort = off`
      const lines = await tx`
      EXPLAIN SELECT * FROM "AuditLog" t WHERE (t."xact", t."id" COLLATE "C") > ('0'::xid8, 'x') AND t."organizationId" = ${acme}
      ORDER BY t."xact", t."id" COLLATE "C" LIMIT 10`
      return [{ plan: lines.map((line) => line['QUERY PLAN']).join('\n') }]
    })
    expect(plan).toMatch(/Index.* using "AuditLog_(organizationId_)?xact_id_idx"/)
    expect(plan).not.toContain('Sort')

    receiver.always({ status: 503 })
    const random = seeded(seed + 1)
    await prisma.write((tx) => insert(tx, [log(acme, random)]))
    await page.daemon.logged('destination.backing_off', ({ name }) => name === 'acme')
    await sql`DELETE FROM "AuditLog"`
    receiver.always({ status: 200 })
    await arrived(
      receiver,
      '/acme',
      (await prisma.write((tx) => insert(tx, [log(acme, random)]))).map(({ id }) => id),
    )
    await page.daemon.logged('events.deleted_at_source', ({ name }) => name === 'acme')
    const { rows } = await page.step()
    expect(rows?.[0]).toMatchObject({ log_type: 'audit', event_count: null })
    await page.finish()
    await page.daemon.stop()
  },
  recipeTimeoutMs,
)

/** An interactive transaction: a row, something else, then `createMany`. */
const interactive: Transaction = async (tx, { random, pause }) => {
  const organization = () => (random() < 0.2 ? null : pick(random, [acme, globex]))
  const written = await insert(tx, [log(organization(), random)])
  await pause()
  const many = Array.from({ length: Math.floor(random() * 6) }, () => log(organization(), random))
  if (many.length > 0) written.push(...(await insert(tx, many)))
  return written
}

interface Log {
  readonly id: string
  readonly createdAt: string
  readonly organizationId: string | null
  readonly payload: { readonly ip: string; readonly tags: readonly (string | number)[] }
  readonly [column: string]: unknown
}

function log(organizationId: string | null, random: Random): Log {
  const part = (length: number) =>
    Math.floor(random() * 36 ** length)
      .toString(36)
      .padStart(length, '0')
  return {
    id: `c${Date.now().toString(36)}${part(4)}${part(6)}${part(6)}`,
    createdAt: new Date().toISOString(),
    organizationId,
    actorId: null,
    action: pick(random, ['CREATE', 'UPDATE', 'DELETE', 'LOGIN']),
    entity: 'Session',
    payload: { ip: '203.0.113.9', tags: ['ä', '"', 1.5] },
  }
}

async function insert(tx: Parameters<Transaction>[0], rows: readonly Log[]): Promise<Written[]> {
  await tx`INSERT INTO "AuditLog" ${tx(rows.map((row) => ({ ...row, payload: tx.json(row.payload) })))}`
  return rows.map((row) => {
    // PostgreSQL writes no zeros at the end of a fraction.
    const createdAt = row.createdAt.replace(/\.?0*Z$/, '')
    return {
      id: `audit:${row.id}`,
      org_id: row.organizationId,
      timestamp: `${createdAt}Z`,
      data: { ...row, createdAt },
    }
  })
}
