import type postgres from 'postgres'
import { expect, it } from 'vitest'
import { pick, type Random, seedOf } from '../../support/random.ts'
import type { Transaction } from '../../support/recipes/application.ts'
import { arrived, eventsAt, exact, type Written } from '../../support/recipes/ledger.ts'
import { openRecipe, recipeTimeoutMs } from '../../support/recipes/scene.ts'

const seed = seedOf()
const now = Math.floor(Date.now() / 1_000)
const day = 86_400
const logTypes = ['request', 'action', 'access', 'connection'] as const
type LogType = (typeof logTypes)[number]

it(
  `follows the page while Pangolin writes, deletes and cascades: nothing lost, nothing twice (seed ${seed})`,
  async () => {
    const recipe = await openRecipe({
      path: 'recipes/pangolin.md',
      schema: 'pangolin.sql',
      prepare: async (sql) => {
        await sql`INSERT INTO "orgs" VALUES ('acme', 'Acme'), ('globex', 'Globex')`
        await sql`INSERT INTO "user" VALUES ('ada'), ('leaver')`
      },
      seed,
      processes: 6,
      transaction: flush(now),
      org: 'acme',
    })
    const { sql, receiver, ledger, application: pangolin, page, addDestination, arrive } = recipe
    const old = await pangolin.write(oldRows(now - 8 * day))
    await pangolin.committed(50)

    const made = await addDestination()
    await page.followTo('skipped_ranges')
    await arrived(
      receiver,
      '/operations',
      old.map(({ id }) => id),
    )
    await pangolin.committed(50)
    // Retention, and a user who leaves, take rows that were sent.
    expect(await retain(sql, now - 7 * day)).toBeGreaterThan(0)
    await sql`DELETE FROM "user" WHERE "id" = 'leaver'`
    await pangolin.committed(50)
    await pangolin.stop()
    const last = await pangolin.write(lastRows(now))
    await arrive(last)

    expect(ledger.account(eventsAt(receiver.requests, '/operations'), null)).toEqual(exact)
    expect(ledger.account(eventsAt(receiver.requests, '/acme'), 'acme', made)).toEqual(exact)
    expect(eventsAt(receiver.requests, '/operations').some(({ org_id }) => org_id === null)).toBe(true)
    expect(await sql`SELECT FROM spillway.skipped_ranges`).toHaveLength(0)

    // What retention takes before it was sent is on the record.
    receiver.always({ status: 503 })
    const [unsent] = await pangolin.write(async (tx) =>
      insert(tx, 'request', [request(now - 9 * day, 'acme')]),
    )
    await page.daemon.logged('destination.backing_off', ({ name }) => name === 'acme siem')
    await sql`DELETE FROM "requestAuditLog" WHERE "id" <= ${unsent?.data.id as number}`
    receiver.always({ status: 200 })
    const after = await pangolin.write(async (tx) => insert(tx, 'request', [request(now, 'acme')]))
    await arrived(
      receiver,
      '/acme',
      after.map(({ id }) => id),
    )
    const warning = await page.daemon.logged('events.deleted_at_source', ({ name }) => name === 'acme siem')
    expect(warning).toMatchObject({ level: 'warn', log_type: 'request' })
    const { rows } = await page.step()
    expect(rows?.[0]).toMatchObject({
      log_type: 'request',
      to_position: String(unsent?.data.id),
      event_count: null,
      reason: 'deleted_at_source',
    })
    await page.finish()
    await page.daemon.stop()
  },
  recipeTimeoutMs,
)

/** What a process has gathered, written in one transaction of several inserts. */
function flush(at: number): Transaction {
  return async (tx, { random, pause }) => {
    const written: Written[] = []
    for (let chunk = 0; chunk < 1 + random() * 3; chunk++) {
      const logType = pick(random, logTypes)
      const rows = Array.from({ length: 1 + Math.floor(random() * 8) }, () =>
        rowOf(logType, at - Math.floor(random() * 600), random),
      )
      written.push(...(await insert(tx, logType, rows)))
      await pause()
    }
    return written
  }
}

function oldRows(at: number): Transaction {
  return async (tx) => {
    const leaver = { ...connection(at, 'acme'), userId: 'leaver' }
    return [
      ...(await insert(tx, 'request', [request(at, 'acme'), request(at, null), request(at, 'globex')])),
      ...(await insert(tx, 'connection', [leaver, connection(at, null), leaver])),
    ]
  }
}

/** One of each log type for each org: highest of their tables, so in order the last to arrive. */
function lastRows(at: number): Transaction {
  return async (tx) => {
    const written: Written[] = []
    for (const logType of logTypes) {
      const rows = ['globex', 'acme'].map((org) => ({ ...rowOf(logType, at, () => 0.99), orgId: org }))
      written.push(...(await insert(tx, logType, rows)))
    }
    return written
  }
}

type Row = Readonly<Record<string, string | number | boolean | null>>

const excluded = new Set(['headers', 'query', 'originalRequestURL'])

async function insert(
  tx: postgres.TransactionSql,
  logType: LogType,
  rows: readonly Row[],
): Promise<Written[]> {
  const made = await tx<{ id: number }[]>`
    INSERT INTO ${tx(`${logType}AuditLog`)} ${tx(rows as Row[])} RETURNING "id"`
  return rows.map((row, index) => {
    const id = made[index]?.id ?? 0
    const seconds = Number(row.timestamp ?? row.startedAt)
    return {
      id: `${logType}:${id}`,
      org_id: row.orgId as string | null,
      timestamp: new Date(seconds * 1_000).toISOString().replace('.000', ''),
      data: { id, ...Object.fromEntries(Object.entries(row).filter(([name]) => !excluded.has(name))) },
    }
  })
}

function rowOf(logType: LogType, at: number, random: Random): Row {
  const org = pick(random, ['acme', 'globex'])
  switch (logType) {
    case 'request':
      return request(at, random() < 0.3 ? null : org)
    case 'action':
      return { timestamp: at, orgId: org, ...actor, action: 'createSite', metadata: '{"siteId":7}' }
    case 'access':
      return { timestamp: at, orgId: org, ...actor, ...place, type: 'password', action: true, metadata: null }
    case 'connection':
      return connection(at, random() < 0.3 ? null : org)
    default:
      return logType satisfies never
  }
}

const actor = { actorType: 'user', actor: 'ada@acme.example', actorId: 'ada' }
const place = { resourceId: 3, siteResourceId: null, ip: '203.0.113.9', location: 'DE', userAgent: 'curl/8' }

function request(at: number, org: string | null): Row {
  return {
    timestamp: at,
    orgId: org,
    action: org !== null,
    reason: org === null ? 201 : 100,
    ...actor,
    ...place,
    metadata: null,
    headers: '{"cookie":"p_session=secret"}',
    query: '{"token":"secret"}',
    originalRequestURL: 'https://app.acme.example/x?token=secret',
    scheme: 'https',
    host: 'app.acme.example',
    path: '/x',
    method: 'GET',
    tls: true,
  }
}

function connection(at: number, org: string | null): Row {
  return {
    sessionId: 'f00d',
    siteResourceId: null,
    orgId: org,
    siteId: null,
    clientId: null,
    clientEndpoint: '198.51.100.4:51820',
    userId: 'ada',
    sourceAddr: '100.90.128.2:40000',
    destAddr: '10.0.0.5:5432',
    protocol: 'tcp',
    startedAt: at,
    endedAt: null,
    bytesTx: 2_147_483_647,
    bytesRx: 0,
  }
}

/** As Pangolin does it: by the time, whoever has read them. */
async function retain(sql: postgres.Sql, before: number): Promise<number> {
  const requests = await sql`DELETE FROM "requestAuditLog" WHERE "timestamp" < ${before}`
  const connections =
    await sql`DELETE FROM "connectionAuditLog" WHERE "startedAt" < ${before} AND "userId" = 'ada'`
  return requests.count + connections.count
}
