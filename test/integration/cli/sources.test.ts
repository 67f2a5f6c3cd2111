import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { spillway } from './spillway.ts'

const database = await createTestDatabase()
const { sql } = database
const env = { DATABASE_URL: database.url }
const run = (...args: readonly string[]) => spillway(['sources', ...args], { env })

await sql`
  CREATE TABLE "loginLog" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant text, at timestamptz, secret text)`
const login = ['--relation', 'public."loginLog"', '--timestamp-column', 'at']

describe('sources add', () => {
  test('registers a table under a log type', async () => {
    const ran = await run('add', 'login', ...login, '--org-column', 'tenant', '--exclude-columns', 'secret')
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toContain('Added source login: public."loginLog".')
    expect(await sql`SELECT * FROM spillway.sources WHERE log_type = 'login'`).toMatchObject([
      {
        relation: 'public."loginLog"',
        id_column: 'id',
        org_column: 'tenant',
        timestamp_column: 'at',
        ordering: 'id',
        exclude_columns: ['secret'],
        enabled: true,
      },
    ])
  })

  test('refuses a log type that is taken, and names the way', async () => {
    const ran = await run('add', 'request', ...login, '--no-org')
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toContain('registered already, for spillway.request_audit_log')
    expect(ran.stderr).toContain('--replace')
  })

  test.each([
    {
      args: ['--relation', 'public.nothing', '--timestamp-column', 'at'],
      says: 'no relation public.nothing',
    },
    { args: [...login, '--id-column', 'tenant'], says: 'of type text' },
    { args: [...login, '--timestamp-column', 'when'], says: 'has no column when' },
    { args: [...login, '--relation', 'a b..c'], says: 'a b..c' },
    { args: [...login, '--exclude-columns', 'pin'], says: 'has no column pin' },
  ])('looks at the database first: $says', async ({ args, says }) => {
    const ran = await run('add', 'unfit', '--no-org', ...args)
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toContain(says)
    // The hint is a line of its own.
    expect(ran.stderr.trim().split('\n').length).toBeGreaterThan(1)
    expect(await sql`SELECT FROM spillway.sources WHERE log_type = 'unfit'`).toHaveLength(0)
  })

  test('names every bad argument at once and exits 2', async () => {
    const ran = await run('add', 'Bad Name')
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    for (const field of ['log type', '--relation', '--timestamp-column', '--org-column']) {
      expect(ran.stderr).toContain(`  ${field}: `)
    }
    const both = await run('add', 'login2', ...login, '--no-org', '--org-column', 'tenant')
    expect(both).toMatchObject({ code: 2, stderr: expect.stringContaining('contradicts --no-org') })
  })

  test('--replace with the same table keeps the cursors', async () => {
    await run('add', 'kept', ...login, '--org-column', 'tenant')
    await insertDestination('kept')
    const before = await cursorOf('kept')
    expect(before).toHaveLength(1)
    const ran = await run(
      'add',
      'kept',
      ...login,
      '--org-column',
      'tenant',
      '--exclude-columns',
      'secret',
      '--replace',
    )
    expect(ran.stdout).toContain('the cursors of 1 destination stay where they are')
    expect(await cursorOf('kept')).toEqual(before)
  })

  test('knows a table again in another spelling, and stores the one with its schema', async () => {
    await sql`CREATE TABLE spelled_log (id bigserial PRIMARY KEY, at timestamptz)`
    await sql`
      INSERT INTO spillway.sources (log_type, relation, timestamp_column) VALUES ('spelled', 'spelled_log', 'at')`
    const options = ['--timestamp-column', 'at', '--no-org', '--json']
    const kept = await run('add', 'spelled', '--relation', 'public.spelled_log', '--replace', ...options)
    expect(JSON.parse(kept.stdout)).toMatchObject({ effect: 'replaced' })
    await run('add', 'spelled2', '--relation', 'spelled_log', ...options)
    expect(await sql`SELECT relation FROM spillway.sources WHERE log_type = 'spelled2'`).toMatchObject([
      { relation: 'public.spelled_log' },
    ])
  })

  test('--replace with another table starts cursors anew, on the record, and says so', async () => {
    await sql`CREATE TABLE old_log (id bigserial PRIMARY KEY, tenant text, at timestamptz)`
    await run('add', 'moved', '--relation', 'old_log', '--timestamp-column', 'at', '--org-column', 'tenant')
    await insertDestination('moved')
    await sql`INSERT INTO old_log (tenant, at) VALUES ('acme', now())`
    await sql`INSERT INTO spillway.source_state (log_type, horizon) VALUES ('moved', '1')`
    const ran = await run('add', 'moved', ...login, '--no-org', '--replace')
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toContain('The cursors of 1 destination started anew')
    expect(ran.stdout).toContain('source_repointed')
    expect(ran.stdout).toContain('1 destination of single orgs')
    expect(await sql`SELECT * FROM spillway.skipped_ranges WHERE log_type = 'moved'`).toMatchObject([
      { from_position: '0', to_position: '1', reason: 'source_repointed' },
    ])
    const json = await run('add', 'moved', ...login, '--org-column', 'tenant', '--replace', '--json')
    expect(JSON.parse(json.stdout)).toEqual({
      log_type: 'moved',
      effect: 'replaced',
      relation: 'public."loginLog"',
      fence: 'sequence',
      destinations: 1,
      invalidated: 0,
    })
  })
})

describe('sources list', () => {
  test('shows what is registered, how far it is and whether it can be read', async () => {
    await sql`CREATE TABLE gone_log (id bigserial PRIMARY KEY, at timestamptz)`
    await run('add', 'gone', '--relation', 'gone_log', '--timestamp-column', 'at', '--no-org')
    await sql`DROP TABLE gone_log`
    await sql`INSERT INTO spillway.source_state (log_type, horizon) VALUES ('request', '4711')`
    await sql`UPDATE spillway.sources SET enabled = false WHERE log_type = 'access'`
    const ran = await run('list')
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toMatch(/LOG TYPE +RELATION +ORDERING +ID +ORG +TIMESTAMP +EXCLUDED +HORIZON +STATE/)
    expect(ran.stdout).toMatch(/request +spillway\.request_audit_log +id +id +org_id +occurred_at +4711 +ok/)
    expect(ran.stdout).toMatch(/access +spillway\.access_audit_log .* disabled/)
    expect(ran.stdout).toMatch(/gone +public\.gone_log +id +id +\(none\) +at +unreadable/)
    expect(ran.stdout).toContain('there is no relation public.gone_log')
    const json = JSON.parse((await run('list', '--json')).stdout)
    expect(json).toContainEqual(
      expect.objectContaining({ log_type: 'gone', readable: false, hint: expect.any(String) }),
    )
    expect(json).toContainEqual(
      expect.objectContaining({ log_type: 'request', horizon: '4711', readable: true, problem: null }),
    )
  })

  test('says what the role of the source connection may not read', async () => {
    const role = `reader_${randomBytes(4).toString('hex')}`
    await sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'reader'; GRANT USAGE ON SCHEMA public TO ${role}`)
    whenDone(async () => {
      await sql.unsafe(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
    })
    const url = new URL(database.url)
    url.username = role
    url.password = 'reader'
    const asReader = { ...env, SPILLWAY_SOURCE_DATABASE_URL: url.href }
    const ran = await spillway(['sources', 'list', '--json'], { env: asReader })
    expect(ran.code).toBe(0)
    const sources: { log_type: string; problem: string | null; hint: string }[] = JSON.parse(ran.stdout)
    const request = sources.find(({ log_type }) => log_type === 'request')
    const login = sources.find(({ log_type }) => log_type === 'login')
    expect(request?.problem).toContain('spillway')
    expect(login?.problem).toContain('permission denied')
    expect(login?.hint).toContain('GRANT')
  })
})

async function insertDestination(logType: string): Promise<void> {
  await sql`
    INSERT INTO spillway.destinations (org_id, name, type, log_types, config)
    VALUES ('acme', ${logType}, 'http', ${[logType]}, '{"url": "https://example.com"}')`
}

function cursorOf(logType: string) {
  return sql`SELECT * FROM spillway.cursors WHERE log_type = ${logType}`
}
