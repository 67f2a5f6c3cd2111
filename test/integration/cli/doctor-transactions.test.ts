import postgres from 'postgres'
import { describe, expect, test } from 'vitest'
import { whenDone } from '../../support/postgres.ts'
import { createRole, doctor, doctorWith, healthyId, healthyXact, patient } from './doctoring.ts'

const orderings = [
  { ordering: 'id', ddl: healthyId },
  { ordering: 'xact', ddl: healthyXact },
] as const

/** A session in the middle of a transaction that has written a row. */
async function openWriter(url: string, statement = "INSERT INTO audit (org_id) VALUES ('a')") {
  const sql = postgres(url, { max: 1, onnotice: () => {}, connection: { application_name: 'billing' } })
  const session = await sql.reserve()
  whenDone(async () => {
    await session.unsafe('ROLLBACK').catch(() => {})
    session.release()
    await sql.end({ timeout: 1 })
  })
  await session.unsafe(`BEGIN; ${statement}`)
  const [row] = await session<
    { pid: number; user: string }[]
  >`SELECT pg_backend_pid() AS pid, current_user AS user`
  return { session, pid: row?.pid, user: row?.user }
}

describe.each(orderings)('a source with the ordering $ordering is held back by', ({ ordering, ddl }) => {
  test('a session that is idle in a transaction', async () => {
    const { url } = await patient(ddl, { ordering })
    const { pid, user } = await openWriter(url)
    const seen = await doctorWith({ DATABASE_URL: url }, { idleMs: 0 })
    const finding = seen.findings.find(
      ({ code, message }) => code === 'transactions.idle' && message.includes(`Session ${pid} `),
    )
    expect(finding).toMatchObject({
      severity: 'problem',
      message: expect.stringMatching(`billing, user ${user}\\) holds back .*test.*: idle for`),
      remedy: expect.stringContaining(`pg_terminate_backend(${pid})`),
    })
    // For ten seconds nobody complains.
    const patiently = await doctor({ DATABASE_URL: url })
    expect(patiently.findings.some(({ message }) => message.includes(`Session ${pid} `))).toBe(false)
  })

  test('a transaction that works for long', async () => {
    const { url } = await patient(ddl, { ordering })
    const { session, pid } = await openWriter(url)
    const working = session`SELECT pg_sleep(600)`.execute()
    working.catch(() => {})
    whenDone(async () => {
      const admin = postgres(url, { max: 1 })
      await admin`SELECT pg_cancel_backend(${pid ?? 0})`
      await admin.end()
      await working.catch(() => {})
    })
    const seen = await doctorWith({ DATABASE_URL: url }, { longMs: 0 })
    expect(seen.findings).toContainEqual(
      expect.objectContaining({
        code: 'transactions.long',
        severity: 'warning',
        message: expect.stringContaining(`Session ${pid} `),
      }),
    )
  })

  test('a prepared transaction', async () => {
    const { url, sql } = await patient(ddl, { ordering })
    const gid = `left's-${ordering}-${process.pid}`
    const literal = `'${gid.replaceAll("'", "''")}'`
    const { session } = await openWriter(url)
    await session.unsafe(`PREPARE TRANSACTION ${literal}`)
    whenDone(async () => {
      await sql.unsafe(`ROLLBACK PREPARED ${literal}`)
    })
    const seen = await doctorWith({ DATABASE_URL: url }, { preparedMs: 0 })
    const finding = seen.findings.find(
      ({ code, message }) => code === 'transactions.prepared' && message.includes(literal),
    )
    expect(finding).toMatchObject({
      severity: 'problem',
      message: expect.stringContaining('holds back test'),
      remedy: expect.stringContaining(`ROLLBACK PREPARED ${literal};`),
    })
    const patiently = await doctor({ DATABASE_URL: url })
    expect(patiently.findings.some(({ message }) => message.includes(literal))).toBe(false)
  })
})

test('a prepared transaction that holds back nothing is a warning', async () => {
  const { url, sql } = await patient(`${healthyId}; CREATE TABLE other (id int)`)
  const { session } = await openWriter(url, 'INSERT INTO other VALUES (1)')
  await session.unsafe(`PREPARE TRANSACTION 'other-${process.pid}'`)
  whenDone(async () => {
    await sql.unsafe(`ROLLBACK PREPARED 'other-${process.pid}'`)
  })
  const seen = await doctorWith({ DATABASE_URL: url }, { preparedMs: 0 })
  expect(seen.hazards).toEqual(['warning transactions.prepared'])
  expect(seen.code).toBe(0)
})

test('a session that has locked a table is named, and the other sources are looked at', async () => {
  const { url } = await patient(healthyId)
  const { pid } = await openWriter(url, 'LOCK TABLE audit IN ACCESS EXCLUSIVE MODE')
  const seen = await doctorWith({ DATABASE_URL: url }, { idleMs: 0 })
  expect(seen.hazards).toEqual(['problem transactions.lock'])
  expect(seen.find('transactions.lock')).toMatchObject({
    subject: { kind: 'source', name: 'test' },
    message: expect.stringContaining(`Session ${pid} (billing, `),
    remedy: `SELECT pg_terminate_backend(${pid});`,
  })
  const others = seen.findings.filter(({ code, severity }) => code === 'index' && severity === 'ok')
  expect(others.map(({ subject }) => subject.name)).toEqual(['access', 'action', 'connection', 'request'])
})

test('a table that does not answer costs its own checks some time, and no other check', async () => {
  const { url } = await patient(healthyId)
  await openWriter(url, 'LOCK TABLE audit IN ACCESS EXCLUSIVE MODE')
  const seen = await doctorWith({ DATABASE_URL: url }, { checkMs: 2_000 })
  expect(new Set(seen.hazards)).toEqual(new Set(['warning check.failed']))
  expect(seen.find('check.failed').message).toContain('no answer within 2 s')
  expect(seen.findings).toContainEqual(expect.objectContaining({ code: 'destinations', severity: 'ok' }))
})

test('a session of which the role may see only the locks is told with what to grant', async () => {
  const database = await patient(healthyId)
  const { role, url } = await createRole(
    database,
    'GRANT USAGE ON SCHEMA public, spillway TO ROLE; GRANT SELECT ON ALL TABLES IN SCHEMA public, spillway TO ROLE; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public, spillway TO ROLE',
  )
  const { pid } = await openWriter(database.url)
  const env = { DATABASE_URL: database.url, SPILLWAY_SOURCE_DATABASE_URL: url }
  const seen = await doctorWith(env, { lookAgainMs: 10 })
  expect(seen.hazards).toEqual(['warning transactions.hidden'])
  expect(seen.find('transactions.hidden')).toMatchObject({
    message: expect.stringContaining(`Session ${pid} `),
    remedy: `GRANT pg_read_all_stats TO ${role};`,
  })
})

test('a transaction in another database holds back a source that is ordered by transactions, no other', async () => {
  const elsewhere = await patient(healthyId)
  const { pid } = await openWriter(elsewhere.url)
  const name = new URL(elsewhere.url).pathname.slice(1)
  const about = async (url: string) => {
    const { findings } = await doctorWith({ DATABASE_URL: url }, { idleMs: 0 })
    return findings.filter(({ message }) => message.includes(`Session ${pid} `))
  }
  expect(await about((await patient(healthyId)).url)).toEqual([])
  expect(await about((await patient(healthyXact, { ordering: 'xact' })).url)).toMatchObject([
    { code: 'transactions.idle', message: expect.stringContaining(`, database ${name})`) },
  ])
})
