import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { expect, test } from 'vitest'
import { startCluster } from '../../support/cluster.ts'
import { startDaemon } from '../../support/daemon.ts'
import { insertDestination } from '../../support/destinations.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { programEnv } from '../../support/program.ts'
import { startReceiver } from '../../support/receiver.ts'
import { admit, healthyId, healthyXact } from './doctoring.ts'
import { spillway } from './spillway.ts'

const main = fileURLToPath(new URL('../../../src/main.ts', import.meta.url))
const ten = "INSERT INTO audit (org_id) SELECT 'acme' FROM generate_series(1, 10)"

test.each([
  { ordering: 'id', ddl: healthyId },
  { ordering: 'xact', ddl: healthyXact },
] as const)('a healthy set-up with the ordering $ordering gets no warning', async ({ ordering, ddl }) => {
  const cluster = await startCluster({ durable: true })
  const receiver = await startReceiver()
  whenDone(() => receiver.close())
  const sql = postgres(cluster.url, { max: 2, onnotice: () => {} })
  whenDone(() => sql.end({ timeout: 1 }))
  await admit(sql, `${ddl}; ${ten}`, { ordering, forwarded: false })
  await insertDestination(sql, { url: receiver.url, logTypes: ['test'], startFrom: 'beginning' })
  await insertDestination(sql, { url: receiver.url, logTypes: ['test', 'request'], org: 'acme' })
  const daemon = await startDaemon(cluster.url)
  await sql.unsafe(ten)
  await daemon.logged('batch.delivered', ({ log_type }) => log_type === 'test')
  const child = spawn(process.execPath, [main, 'doctor'], {
    env: { ...programEnv, DATABASE_URL: cluster.url },
  })
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ])
  expect({ code, stderr, loud: /WARNING|PROBLEM/.test(stdout) ? stdout : '' }).toEqual({
    code: 0,
    stderr: '',
    loud: '',
  })
  for (const said of [
    'The database\n',
    'A daemon delivers',
    '2 destinations are valid',
    'Source test (public.audit)\n',
    'All is well.',
  ]) {
    expect(stdout).toContain(said)
  }
})

test('for people the findings stand by subject, what is wrong first, each with its remedy', async () => {
  const database = await createTestDatabase()
  await admit(database.sql, `${healthyId}; ALTER SEQUENCE audit_id_seq CACHE 9`)
  const id = await insertDestination(database.sql, { url: 'x', name: 'tricky\u001b[31m' })
  const ran = await spillway(['doctor'], { env: { DATABASE_URL: database.url } })
  expect(ran).toMatchObject({ code: 1, stderr: '' })
  expect(ran.stdout).toMatch(
    /Source test \(public\.audit\)\n {2}PROBLEM sequence\.cache: .*CACHE 9.*\n {10}→ ALTER SEQUENCE \S+ CACHE 1/,
  )
  expect(ran.stdout).toContain(`Destination ${id} (tricky [31m)\n  PROBLEM destination.invalid: `)
  expect(ran.stdout).toMatch(/\n2 problems and 3 warnings: /)
  expect(ran.stdout).not.toContain('\u001b')
})

test('--json gives a summary and the list', async () => {
  const database = await createTestDatabase()
  const ran = await spillway(['doctor', '--json'], { env: { DATABASE_URL: database.url } })
  expect(ran).toMatchObject({ code: 0, stderr: '' })
  const { summary, findings } = JSON.parse(ran.stdout)
  expect(summary).toEqual({ problems: 0, warnings: 3, ok: findings.length - 3 })
  expect(findings).toContainEqual({
    severity: 'warning',
    code: 'daemon.absent',
    subject: { kind: 'server', name: 'database' },
    message: expect.any(String),
    remedy: 'spillway run',
  })
})
