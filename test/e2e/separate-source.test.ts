/** Audit tables in a database of their own, read by a role with the grants of docs/OPERATIONS.md and no others. */
import type postgres from 'postgres'
import { expect, it } from 'vitest'
import { spillway } from '../integration/cli/spillway.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination } from '../support/destinations.ts'
import { pick, type Random, seedOf } from '../support/random.ts'
import { type Application, startApplication, type Transaction } from '../support/recipes/application.ts'
import { arrived, eventsAt, exact, Ledger, type Span, type Written } from '../support/recipes/ledger.ts'
import { Page } from '../support/recipes/page.ts'
import { asRole, databaseOf, type SeparateScene, separateScene } from '../support/separate-scene.ts'

const seed = seedOf()
const orgs = ['acme', 'globex', 'initech'] as const
const quick = {
  SPILLWAY_INTER_BATCH_DELAY_MS: '0',
  SPILLWAY_BACKOFF_SCHEDULE_MS: '100',
}

it(`loses nothing with nothing but SELECT, whenever destinations come (seed ${seed})`, async () => {
  const { url, sql, env, receiver, source, grants, role } = await separateScene()
  await new Page({ path: 'OPERATIONS.md', section: 'A separate source database', sql, env }).step()
  await grants('Grants').step()
  expect(await privileges(source.sql, role)).toEqual(['SELECT'])
  await add('login', env)
  const logins = new Ledger()
  const visits = new Ledger()
  const application = startApplication({
    url: source.url,
    ledger: logins,
    seed,
    processes: 4,
    transaction: logIn,
  })
  const visitors = startApplication({
    url: source.url,
    ledger: visits,
    seed,
    processes: 4,
    transaction: visit,
  })
  await application.committed(20)

  const made = new Map<string, Span>()
  const destination = async (
    path: string,
    options: { org?: string; startFrom?: string; logTypes: string[] },
  ) => {
    const began = performance.now()
    const id = await insertDestination(sql, { url: `${receiver.url}${path}`, name: path, ...options })
    made.set(path, { began, ended: performance.now() })
    return id
  }
  await destination('/all', { logTypes: ['login'], startFrom: 'beginning' })
  await destination('/before', { org: 'acme', logTypes: ['login'] })
  const daemon = await startDaemon(url, { ...env, ...quick })
  await application.committed(40)
  await add('visit', env, '--xact-column', 'xact')
  await visitors.committed(40)
  const running = await destination('/running', { org: 'acme', logTypes: ['login'] })
  await destination('/visits', { org: 'globex', logTypes: ['visit'] })
  await destination('/history', { logTypes: ['visit'], startFrom: 'beginning' })
  await application.committed(40)
  expect(await daemon.stop()).toBe(0)
  await destination('/down', { org: 'globex', logTypes: ['login', 'visit'] })
  await application.committed(40)
  await visitors.committed(40)
  const again = await startDaemon(url, { ...env, ...quick })
  const began = performance.now()
  await sql`UPDATE spillway.destinations SET log_types = '{login,visit}' WHERE id = ${running}`
  const later = { began, ended: performance.now() }
  await application.committed(40)
  await visitors.committed(40)
  await Promise.all([application.stop(), visitors.stop()])

  const login = await last(application, logIn)
  const seen = await last(visitors, visit)
  const account = async (
    path: string,
    ledger: Ledger,
    rows: readonly Written[],
    org: string | null,
    from?: Span,
  ) => {
    const logType = ledger === logins ? 'login' : 'visit'
    const own = rows.filter(({ org_id }) => org === null || org_id === org)
    await arrived(
      receiver,
      path,
      own.map(({ id }) => id),
    )
    const events = eventsAt(receiver.requests, path).filter(({ event }) => event === logType)
    // In another database "now" may begin a little early, and never late.
    return { ...ledger.account(events, org, from), early: [] }
  }
  expect(await account('/all', logins, login, null)).toEqual(exact)
  expect(await account('/before', logins, login, 'acme', made.get('/before'))).toEqual(exact)
  expect(await account('/running', logins, login, 'acme', made.get('/running'))).toEqual(exact)
  expect(await account('/running', visits, seen, 'acme', later)).toEqual(exact)
  expect(await account('/visits', visits, seen, 'globex', made.get('/visits'))).toEqual(exact)
  expect(await account('/history', visits, seen, null)).toEqual(exact)
  expect(await account('/down', logins, login, 'globex', made.get('/down'))).toEqual(exact)
  expect(await account('/down', visits, seen, 'globex', made.get('/down'))).toEqual(exact)
  await again.stop()
  const lines = [...daemon.lines, ...again.lines]
  expect(lines.filter(({ level }) => level !== 'debug' && level !== 'info')).toEqual([])
}, 240_000)

it('reads with grants on single columns, waits for a missing one, and leaves no new column out', async () => {
  const { url, sql, env, receiver, source, grants, role } = await separateScene()
  await grants('Grants').step()
  await add('login', env, '--exclude-columns', 'secret')
  await add('visit', env, '--xact-column', 'xact', '--exclude-columns', 'secret')
  await insertDestination(sql, {
    url: `${receiver.url}/all`,
    logTypes: ['login', 'visit'],
    startFrom: 'beginning',
  })
  await grants('Columns that must not be read').step()
  const daemon = await startDaemon(url, { ...env, ...quick })
  const write = (logType: string) =>
    source.sql<{ id: string }[]>`
      INSERT INTO ${source.sql(`audit.${logType}`)} (tenant, secret) VALUES ('acme', 'hidden') RETURNING id::text`
  const ids = [`login:${(await write('login'))[0]?.id}`, `visit:${(await write('visit'))[0]?.id}`]
  await arrived(receiver, '/all', ids)

  // A column that nobody has granted: its rows wait rather than go without it.
  await source.sql`ALTER TABLE audit.login ADD COLUMN reason text DEFAULT 'new'`
  const [row] = await write('login')
  const line = await daemon.logged('source.invalid', ({ log_type }) => log_type === 'login')
  expect(line.problem).toContain('may not read reason of audit.login')
  expect(line.hint).toContain('GRANT SELECT (reason) ON audit.login')
  await source.sql.unsafe(`GRANT SELECT (reason) ON audit.login TO ${role}`)
  await arrived(receiver, '/all', [`login:${row?.id}`])
  expect(eventsAt(receiver.requests, '/all').at(-1)?.data).toMatchObject({ reason: 'new' })

  // And no grant at all.
  await source.sql.unsafe(`REVOKE SELECT ON audit.visit FROM ${role}`)
  const [visit] = await write('visit')
  const invalid = await daemon.logged('source.invalid', ({ log_type }) => log_type === 'visit')
  expect(invalid.hint).toContain('GRANT SELECT')
  await source.sql.unsafe(`GRANT SELECT ON audit.visit TO ${role}`)
  await daemon.logged('source.recovered', ({ log_type }) => log_type === 'visit')
  await arrived(receiver, '/all', [`visit:${visit?.id}`])
  await daemon.stop()
  expect(JSON.stringify(eventsAt(receiver.requests, '/all'))).not.toContain('hidden')
}, 120_000)

it('notices a sequence that was set back, with the optional grants', async () => {
  const { url, sql, env, receiver, source, grants } = await separateScene()
  const page = grants('Grants')
  await page.step()
  const activity = async () => {
    const [row] = await asRole(
      env,
      (reader) => reader<{ pid: number; state: string | null; usename: string }[]>`
      SELECT pid, usename, application_name, state FROM pg_stat_activity WHERE application_name = 'test' AND datname = ${databaseOf(source.url)} LIMIT 1`,
    )
    return row
  }
  await source.sql`SELECT 1`
  expect(await activity()).toMatchObject({ pid: expect.any(Number), application_name: 'test', state: null })
  await page.step()
  expect(await activity()).toMatchObject({ state: expect.any(String) })
  expect(await asRole(env, (reader) => reader`SELECT last_value FROM audit.login_id_seq`)).toHaveLength(1)

  await add('login', env)
  await insertDestination(sql, { url: `${receiver.url}/all`, logTypes: ['login'], startFrom: 'beginning' })
  const daemon = await startDaemon(url, { ...env, ...quick })
  await source.sql`INSERT INTO audit.login (tenant) VALUES ('acme'), ('acme')`
  await arrived(receiver, '/all', ['login:1', 'login:2'])
  await daemon.logged('batch.delivered')
  await source.sql`SELECT setval('audit.login_id_seq', 1, false)`
  expect(await daemon.logged('source.rewound')).toMatchObject({ log_type: 'login' })
  await daemon.stop()
}, 120_000)

it('notices a truncated table without the optional grants', async () => {
  const { url, sql, env, receiver, source, grants } = await separateScene()
  await grants('Grants').step()
  await add('login', env)
  await insertDestination(sql, { url: `${receiver.url}/all`, logTypes: ['login'], startFrom: 'beginning' })
  const daemon = await startDaemon(url, { ...env, ...quick })
  await source.sql`INSERT INTO audit.login (tenant) VALUES ('acme'), ('acme')`
  await arrived(receiver, '/all', ['login:1', 'login:2'])
  await daemon.logged('batch.delivered')
  await source.sql`TRUNCATE audit.login RESTART IDENTITY`
  expect(await daemon.logged('source.rewound')).toMatchObject({ log_type: 'login' })
  await daemon.stop()
}, 120_000)

it('refuses rows that a policy could hide, until the role is exempt', async () => {
  const { url, sql, env, receiver, source, grants, role } = await separateScene()
  await grants('Grants').step()
  await add('login', env)
  await insertDestination(sql, { url: `${receiver.url}/all`, logTypes: ['login'], startFrom: 'beginning' })
  await source.sql.unsafe(`
    ALTER TABLE audit.login ENABLE ROW LEVEL SECURITY;
    CREATE POLICY everything ON audit.login FOR SELECT TO ${role} USING (true)`)
  await source.sql`INSERT INTO audit.login (tenant) VALUES ('acme')`
  const refused = await spillway(['sources', 'list'], { env })
  expect(refused.stdout).toContain('BYPASSRLS')
  const daemon = await startDaemon(url, { ...env, ...quick })
  const line = await daemon.logged('source.invalid', ({ log_type }) => log_type === 'login')
  expect(line.problem).toContain('query would be affected by row-level security policy for table "login"')
  await grants('Row level security').step()
  await arrived(receiver, '/all', ['login:1'])
  await daemon.stop()
}, 120_000)

async function add(logType: string, env: SeparateScene['env'], ...options: string[]): Promise<void> {
  const columns = ['--relation', `audit.${logType}`, '--org-column', 'tenant', '--timestamp-column', 'at']
  expect(await spillway(['sources', 'add', logType, ...columns, ...options], { env })).toMatchObject({
    code: 0,
  })
}

/** What a role may do with the tables, in all. */
async function privileges(sql: postgres.Sql, role: string): Promise<string[]> {
  const rows = await sql`
    SELECT DISTINCT privilege_type FROM information_schema.role_table_grants WHERE grantee = ${role}`
  return rows.map(({ privilege_type }) => String(privilege_type))
}

const logIn: Transaction = async (tx, { random, pause }) => {
  const written = await insert(tx, 'login', random)
  await pause()
  return [...written, ...(await insert(tx, 'login', random))]
}

const visit: Transaction = async (tx, { random, pause }) => {
  const written = await insert(tx, 'visit', random)
  await pause()
  return [...written, ...(await insert(tx, 'visit', random))]
}

/** A transaction after all others, with rows of every org: in order, the last to arrive. */
async function last(application: Application, transaction: Transaction): Promise<Written[]> {
  const rows: Written[] = []
  const found = () => orgs.every((org) => rows.some(({ org_id }) => org_id === org))
  while (!found()) rows.push(...(await application.write(transaction)))
  return rows
}

async function insert(
  tx: Parameters<Transaction>[0],
  logType: 'login' | 'visit',
  random: Random,
): Promise<Written[]> {
  const rows = Array.from({ length: 1 + Math.floor(random() * 4) }, () => ({
    tenant: random() < 0.2 ? null : pick(random, orgs),
    at: new Date(),
    secret: 's',
  }))
  const made = await tx<Readonly<Record<string, string>>[]>`
    INSERT INTO ${tx(`audit.${logType}`)} ${tx(rows)}
    RETURNING id::text, ${logType === 'visit' ? tx`xact::text` : tx`NULL AS xact`}`
  return rows.map(({ tenant, at, secret }, index) => {
    const { id = '', xact } = made[index] ?? {}
    // PostgreSQL writes no zeros at the end of a fraction.
    const instant = at.toISOString().replace(/\.?0*Z$/, 'Z')
    const own = logType === 'visit' ? { id, page: null, xact } : { id: Number(id), action: null }
    return {
      id: `${logType}:${id}`,
      org_id: tenant,
      timestamp: instant,
      data: { ...own, tenant, at: instant, secret },
    }
  })
}
