import { describe, expect, it } from 'vitest'
import { spillway } from '../integration/cli/spillway.ts'
import { startCluster } from '../support/cluster.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { connect, whenDone } from '../support/postgres.ts'
import type { ReceivedRequest } from '../support/receiver.ts'
import { startReceiver } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'
import { createXactTable, notesOf } from '../support/xact-table.ts'

const idsOf = (requests: readonly ReceivedRequest[]) =>
  requests.flatMap(({ body }) =>
    (JSON.parse(body.toString()) as { id: string }[]).map(({ id }) => Number(id.split(':')[1])),
  )

const rebase = (url: string, ...args: string[]) =>
  spillway(['sources', 'rebase', ...args], { env: { DATABASE_URL: url } })

const truncate = 'TRUNCATE spillway.request_audit_log RESTART IDENTITY'

describe('a source that went back in time is stopped, and mended by a rebase', () => {
  it('when it was truncated with RESTART IDENTITY under a running daemon', async () => {
    const { url, sql, receiver, write } = await createScene()
    const id = await insertDestination(sql, { url: receiver.url })
    const daemon = await startDaemon(url)
    await write(20)
    await settled(sql, id, null)
    await sql.unsafe(truncate)
    await write(5)
    const said = await daemon.logged('source.rewound')
    expect(said).toMatchObject({ level: 'error', log_type: 'request' })
    expect(said.hint).toContain('spillway sources rebase request')
    const before = idsOf(receiver.requests).length
    expect(before).toBe(20)

    const dry = await rebase(url, 'request', '--dry-run', '--json')
    expect(JSON.parse(dry.stdout)).toMatchObject({
      done: false,
      former_horizon: '20',
      cursors: [{ from_position: '20', to_position: '0', events_after: 5 }],
    })
    expect(await sql`SELECT position FROM spillway.cursors`).toEqual([{ position: '20' }])
    const done = await rebase(url, 'request')
    expect(done).toMatchObject({ code: 0, stderr: '' })
    expect(done.stdout).toContain('Set 1 cursor of request anew')
    await settled(sql, id, null)
    await write(2)
    await settled(sql, id, null)
    expect(idsOf(receiver.requests).slice(20)).toEqual([1, 2, 3, 4, 5, 6, 7])
  })

  it.each([
    ['fewer rows than it had', 5],
    ['more rows than it had', 40],
  ])('when it was truncated while no daemon ran, and has %s', async (_, count) => {
    const { url, sql, receiver, write } = await createScene()
    const id = await insertDestination(sql, { url: receiver.url })
    const first = await startDaemon(url)
    await write(20)
    await settled(sql, id, null)
    // What it remembers is written at most once a second.
    await expect
      .poll(
        async () =>
          (
            await sql`SELECT trace->'anchor'->>'position' AS at FROM spillway.source_state WHERE log_type = 'request'`
          )[0]?.at,
      )
      .toBe('20')
    await first.stop()
    await sql.unsafe(truncate)
    await write(count)
    const second = await startDaemon(url)
    await second.logged('source.rewound')
    await rebase(url, 'request')
    await settled(sql, id, null)
    expect(idsOf(receiver.requests).slice(20)).toEqual(Array.from({ length: count }, (_, index) => index + 1))
  })

  it('when ids are drawn below what somebody inserted by hand', async () => {
    const { url, sql, receiver, write } = await createScene()
    const id = await insertDestination(sql, { url: receiver.url })
    const daemon = await startDaemon(url)
    await write(2)
    await sql`INSERT INTO spillway.request_audit_log (id, org_id) VALUES (1000000, 'acme')`
    await settled(sql, id, null)
    await write(1)
    expect((await daemon.logged('source.rewound')).problem).toContain('draws ids')
    await sql`SELECT setval('spillway.request_audit_log_id_seq', 1000000)`
    await rebase(url, 'request')
    await settled(sql, id, null)
    await daemon.logged('source.recovered')
    await write(1)
    await settled(sql, id, null)
    expect(new Set(idsOf(receiver.requests))).toEqual(new Set([1, 2, 3, 1_000_000, 1_000_001]))
  })

  it('and what was known of its former life moves no cursor of a tenant that had nothing to send', async () => {
    const { url, sql, receiver, write } = await createScene()
    const all = await insertDestination(sql, { url: `${receiver.url}/all` })
    const tenant = await insertDestination(sql, { url: `${receiver.url}/tenant`, org: 'tenant' })
    const daemon = await startDaemon(url)
    await write(20, 'others')
    await settled(sql, all, null)
    await sql.unsafe(truncate)
    await write(5, 'tenant')
    await write(40, 'others')
    await daemon.logged('source.rewound')
    await rebase(url, 'request')
    await settled(sql, tenant, 'tenant')
    await settled(sql, all, null)
    await daemon.stop()
    const got = receiver.requests.filter(({ path }) => path === '/tenant')
    expect(idsOf(got)).toEqual([1, 2, 3, 4, 5])
  })

  it('when rows that were delivered within the last second are gone and others have their ids', async () => {
    const { url, sql, receiver, write } = await createScene()
    const id = await insertDestination(sql, { url: receiver.url })
    const daemon = await startDaemon(url)
    await write(60)
    await settled(sql, id, null)
    await write(40)
    await settled(sql, id, null)
    // What a promoted replica shows that had not got the last rows: another file, and ids that go on before them.
    await sql.begin(async (tx) => {
      await tx`DELETE FROM spillway.request_audit_log WHERE id > 60`
      await tx`ALTER SEQUENCE spillway.request_audit_log_id_seq RESTART WITH 61`
      await tx`INSERT INTO spillway.request_audit_log (org_id) SELECT 'new' FROM generate_series(1, 50)`
    })
    await daemon.logged('source.rewound')
    await rebase(url, 'request', '--from', '60')
    await settled(sql, id, null)
    await daemon.stop()
    expect(idsOf(receiver.requests).slice(100)).toEqual(Array.from({ length: 50 }, (_, index) => 61 + index))
  })

  it('and the other sources run on meanwhile', async () => {
    const { url, sql, receiver, write } = await createScene()
    const id = await insertDestination(sql, { url: receiver.url, logTypes: ['request', 'action'] })
    const daemon = await startDaemon(url)
    await write(3)
    await settled(sql, id, null)
    await sql.unsafe(truncate)
    await daemon.logged('source.rewound')
    await sql`INSERT INTO spillway.action_audit_log (org_id) VALUES ('acme')`
    await daemon.logged('batch.delivered', ({ log_type }) => log_type === 'action')
  })
})

describe('a source is not taken for one that went back', () => {
  it('when retention empties its table, also while no daemon runs', async () => {
    const { url, sql, receiver, write } = await createScene()
    const id = await insertDestination(sql, { url: receiver.url })
    const first = await startDaemon(url)
    await write(10)
    await settled(sql, id, null)
    await sql`DELETE FROM spillway.request_audit_log WHERE id > 5`
    await sql`DELETE FROM spillway.request_audit_log`
    await write(1)
    await settled(sql, id, null)
    await first.stop()
    await sql`DELETE FROM spillway.request_audit_log`
    const second = await startDaemon(url)
    await write(1)
    await settled(sql, id, null)
    await second.stop()
    expect(idsOf(receiver.requests)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    for (const { lines } of [first, second]) {
      expect(lines.filter(({ event }) => event === 'source.rewound')).toEqual([])
    }
  })

  it('when retention has emptied its table and its sequence is altered after that', async () => {
    const { url, sql, receiver, write } = await createScene()
    const id = await insertDestination(sql, { url: receiver.url })
    const daemon = await startDaemon(url)
    await write(3)
    await settled(sql, id, null)
    await sql`DELETE FROM spillway.request_audit_log`
    // Seen at the end of what was read: within a second of that, the row might as well have been taken back.
    const known = () =>
      sql`SELECT horizon, trace->'anchor' AS anchor FROM spillway.source_state WHERE log_type = 'request'`
    await expect.poll(known).toEqual([{ horizon: '3', anchor: null }])
    await sql`ALTER SEQUENCE spillway.request_audit_log_id_seq MAXVALUE 1000000`
    await write(2)
    await settled(sql, id, null)
    await daemon.stop()
    expect(idsOf(receiver.requests)).toEqual([1, 2, 3, 4, 5])
    expect(daemon.lines.filter(({ event }) => event === 'source.rewound')).toEqual([])
  })

  it('when its key is widened and its table rewritten', async () => {
    const { url, sql, receiver } = await createScene()
    await sql`CREATE TABLE login (id serial PRIMARY KEY, tenant text, at timestamptz DEFAULT now())`
    await sql`INSERT INTO spillway.sources (log_type, relation, org_column, timestamp_column) VALUES ('login', 'login', 'tenant', 'at')`
    await insertDestination(sql, { url: receiver.url, logTypes: ['login'] })
    const daemon = await startDaemon(url)
    await sql`INSERT INTO login (tenant) VALUES ('acme'), ('acme')`
    await receiver.received(1)
    await sql`ALTER TABLE login ALTER id TYPE bigint`
    await sql`ALTER SEQUENCE login_id_seq AS bigint`
    await sql`VACUUM FULL login`
    await sql`INSERT INTO login (tenant) VALUES ('acme')`
    while (idsOf(receiver.requests).length < 3) await receiver.received(receiver.requests.length + 1)
    await daemon.stop()
    expect(idsOf(receiver.requests)).toEqual([1, 2, 3])
    expect(daemon.lines.filter(({ event }) => event === 'source.rewound')).toEqual([])
  })
})

it('a source that is pointed at another table takes no cursor along that knew the old one', async () => {
  const { url, sql, receiver, write } = await createScene()
  const all = await insertDestination(sql, { url: `${receiver.url}/all` })
  await insertDestination(sql, { url: `${receiver.url}/tenant`, org: 'tenant' })
  const daemon = await startDaemon(url)
  await write(20, 'others')
  await settled(sql, all, null)
  await sql`CREATE TABLE fresh (LIKE spillway.request_audit_log INCLUDING ALL)`
  await sql`UPDATE spillway.sources SET relation = 'fresh' WHERE log_type = 'request'`
  await daemon.logged('source.started', ({ relation }) => relation === 'fresh')
  await sql`INSERT INTO fresh (org_id) SELECT 'tenant' FROM generate_series(1, 5)`
  const ids = () => idsOf(receiver.requests.filter(({ path }) => path === '/tenant'))
  while (ids().length < 5) await receiver.received(receiver.requests.length + 1)
  await daemon.stop()
  expect(ids()).toEqual([1, 2, 3, 4, 5])
})

describe('a copy in another cluster', () => {
  it('stops a source with the ordering xact, and a rebase delivers what had not been', async () => {
    const [home, away] = [await startCluster(), await startCluster()]
    const receiver = await startReceiver()
    whenDone(() => receiver.close())
    const [from, to] = [connect(home.url), connect(away.url)]
    // Transactions that the other cluster has not come to yet.
    for (let n = 0; n < 300; n++) await from`SELECT pg_current_xact_id()`
    await createXactTable(from)
    await insertDestination(from, { url: receiver.url, org: 'acme', logTypes: ['visit'] })
    const first = await startDaemon(home.url)
    await from`INSERT INTO visit (tenant, note) SELECT 'acme', 'delivered ' || n FROM generate_series(1, 5) n`
    while (notesOf(receiver.requests).length < 5) await receiver.received(receiver.requests.length + 1)
    await first.logged('destination.delivered')
    await expect
      .poll(async () => (await from`SELECT FROM spillway.source_state WHERE log_type = 'visit'`).length)
      .toBe(1)
    await first.stop()
    await from`INSERT INTO visit (tenant, note) SELECT 'acme', 'waiting ' || n FROM generate_series(1, 3) n`

    // What dump and restore do: the same rows, transactions and all, in another cluster.
    await createXactTable(to)
    const rows = await from`SELECT id::text, tenant, note, xact::text FROM visit`
    await to`INSERT INTO visit (id, tenant, note, xact)
             SELECT id::uuid, tenant, note, xact::xid8 FROM jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb)
               AS r(id text, tenant text, note text, xact text)`
    const env = { SPILLWAY_SOURCE_DATABASE_URL: away.url }
    // The state stays where it is; the source is the copy. Told before, so that it counts as the same source.
    await from`UPDATE spillway.settings SET separate_source = true`
    const second = await startDaemon(home.url, env)
    expect((await second.logged('source.rewound')).problem).toContain('another cluster')
    await to`INSERT INTO visit (tenant, note) VALUES ('acme', 'written in the copy')`

    const done = await spillway(['sources', 'rebase', 'visit'], {
      env: { DATABASE_URL: home.url, ...env },
    })
    expect(done).toMatchObject({ code: 0, stderr: '' })
    expect(done.stdout).toContain('transactions of another cluster')
    await second.logged('source.recovered')
    await to`INSERT INTO visit (tenant, note) VALUES ('acme', 'written after')`
    while (!notesOf(receiver.requests).includes('written after'))
      await receiver.received(receiver.requests.length + 1)
    await second.stop()
    const got = notesOf(receiver.requests)
    expect(got.slice(0, 5).every((note) => note.startsWith('delivered'))).toBe(true)
    expect(got.slice(5).sort()).toEqual([
      'waiting 1',
      'waiting 2',
      'waiting 3',
      'written after',
      'written in the copy',
    ])
  })
})
