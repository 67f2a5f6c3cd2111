import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { closedPort, hang, type Receiver, startReceiver } from '../../support/receiver.ts'
import { type RunOptions, spillway } from './spillway.ts'

const database = await createTestDatabase()
const { sql } = database
const env = { DATABASE_URL: database.url, SPILLWAY_EGRESS_ALLOW: '127.0.0.1' }
const run = (args: readonly string[], options: Partial<RunOptions> = {}) =>
  spillway(['destinations', ...args], { env, ...options })

const http = ['--type', 'http', '--log-types', 'request,action']

async function add(name: string, url: string, ...args: readonly string[]): Promise<number> {
  const config = JSON.stringify({ url, auth: { type: 'bearer', token: 'top-s3cret' } })
  const org = args.includes('--all-orgs') ? [] : ['--org', 'acme']
  const ran = await run(['add', '--name', name, ...http, ...org, '--config', config, '--json', ...args])
  expect(ran).toMatchObject({ code: 0, stderr: '' })
  const { id } = JSON.parse(ran.stdout)
  expect(id).toEqual(expect.any(Number))
  return id
}

async function receiving(): Promise<Receiver> {
  const receiver = await startReceiver()
  whenDone(() => receiver.close())
  return receiver
}

describe('destinations add', () => {
  test('inserts a row whose cursors start at now, and says what follows', async () => {
    const config = '{"url": "https://example.com/"}'
    const ran = await run(['add', '--name', 'plain', ...http, '--org', 'acme', '--config', config])
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toMatch(/^Added destination \d+: plain \(http\), request, action of org acme\.\n/)
    expect(ran.stdout).toContain('from now on')
    const rows = await sql`
      SELECT d.*, (SELECT array_agg(log_type ORDER BY log_type) FROM spillway.cursors WHERE destination_id = d.id) AS seeded
      FROM spillway.destinations d WHERE name = 'plain'`
    expect(rows).toMatchObject([
      { org_id: 'acme', type: 'http', config: JSON.parse(config), enabled: true, start_from: 'now' },
    ])
    expect(rows[0]).toMatchObject({
      log_types: ['request', 'action'],
      seeded: ['action', 'request'],
      delivery: {},
    })
  })

  test('takes the config from a file or from stdin, and every other setting', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'spillway-cli-'))
    whenDone(() => rm(folder, { recursive: true }))
    await writeFile(join(folder, 'config.json'), '{"url": "https://example.com/file"}')
    const rest = ['--all-orgs', '--start-from', '2026-01-31', '--delivery', '{"batchSize": 9}', '--disabled']
    const fromFile = ['--config-file', join(folder, 'config.json')]
    expect(await run(['add', '--name', 'file', ...http, ...rest, ...fromFile])).toMatchObject({ code: 0 })
    const stdin = '{"url": "https://example.com/stdin"}'
    const fromStdin = ['--config-file', '-']
    expect(await run(['add', '--name', 'stdin', ...http, ...rest, ...fromStdin], { stdin })).toMatchObject({
      code: 0,
    })
    const rows = await sql`SELECT * FROM spillway.destinations WHERE name IN ('file', 'stdin') ORDER BY name`
    expect(rows).toMatchObject([
      {
        config: { url: 'https://example.com/file' },
        org_id: null,
        start_from: '2026-01-31',
        delivery: { batchSize: 9 },
        enabled: false,
      },
      { config: { url: 'https://example.com/stdin' } },
    ])
  })

  test('names every bad field, repeats no value, exits 2 and inserts nothing', async () => {
    const config = '{"url": "ftp://example.com", "tokn": "top-s3cret"}'
    const ran = await run(['add', ...http, '--config', config, '--start-from', 'soon'])
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    for (const field of ['--name', '--org', 'config.url', 'config.tokn', 'start_from']) {
      expect(ran.stderr).toContain(`  ${field}: `)
    }
    expect(ran.stderr).not.toContain('top-s3cret')
    expect(await sql`SELECT FROM spillway.destinations WHERE name = ''`).toHaveLength(0)
  })

  test.each([
    { args: ['--config', '{}', '--config-file', '-'], field: '--config-file' },
    { args: ['--config-file', '/no/such/file.json'], field: '--config-file' },
    { args: ['--config', '{top-s3cret'], field: 'config' },
    { args: ['--type', 'smtp', '--config', '{}'], field: 'type' },
    { args: ['--log-types', 'nothing', '--config', '{"url": "https://example.com"}'], field: 'log_types' },
  ])('refuses $args', async ({ args, field }) => {
    const ran = await run(['add', '--name', 'bad', '--org', 'acme', ...http, ...args])
    expect(ran.code).toBe(2)
    expect(ran.stderr).toContain(`  ${field}: `)
    expect(ran.stderr).not.toContain('top-s3cret')
  })

  test('knows that audit tables in another database are beyond the triggers', async () => {
    const other = await createTestDatabase()
    const id = JSON.parse(
      (
        await run(
          ['add', '--name', 'x', ...http, '--org', 'a', '--config', '{"url": "https://x.example"}', '--json'],
          { env: { DATABASE_URL: other.url, SPILLWAY_SOURCE_DATABASE_URL: database.url } },
        )
      ).stdout,
    ).id
    expect(await other.sql`SELECT FROM spillway.cursors WHERE destination_id = ${id}`).toHaveLength(0)
  })
})

describe('an address that is not public', () => {
  const strict = { env: { DATABASE_URL: database.url } }
  const sentence = '127.0.0.1 is not a public address; the operator may allow it with SPILLWAY_EGRESS_ALLOW.'

  test('is told of when it is added, and is no error', async () => {
    const config = JSON.stringify({ url: 'http://2130706433:9/' })
    const args = ['add', '--name', 'closed', ...http, '--org', 'acme', '--config', config]
    const ran = await run(args, strict)
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout.split('\n')).toContain(sentence)
    expect((await run(args)).stdout).not.toContain('SPILLWAY_EGRESS_ALLOW')
  })

  test('is not called by a test, which says why', async () => {
    const receiver = await receiving()
    await add('local', receiver.url)
    await add('local name', receiver.url.replace('127.0.0.1', 'localhost'))
    const ran = await run(['test', 'local', '--json'], strict)
    expect(ran.code).toBe(1)
    expect(JSON.parse(ran.stdout)).toMatchObject({
      outcome: 'retry',
      reason: 'address_refused',
      message: sentence,
    })
    expect((await run(['test', 'local name'], strict)).stdout).toContain(
      'localhost does not lead to public addresses only; the operator may allow it with SPILLWAY_EGRESS_ALLOW.',
    )
    expect(receiver.connections).toBe(0)
  })
})

describe('destinations list', () => {
  test('shows every destination with its state and none of its config (I8)', async () => {
    const id = await add('listed', 'https://listed.example/path')
    await sql`
      UPDATE spillway.delivery_state SET status = 'backing_off', consecutive_failures = 3,
        last_success_at = now() - interval '90 s', last_error = 'The receiver answered 503.', last_error_at = now()
      WHERE destination_id = ${id}`
    const ran = await run(['list'])
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toMatch(/ID +ORG +NAME +TYPE +LOG TYPES +STATUS +LAST SUCCESS +LAST ERROR/)
    expect(ran.stdout).toMatch(
      /acme +listed +http +request,action +backing_off +1 min ago +just now: The receiver answered 503\./,
    )
    const json = await run(['list', '--json'])
    expect(JSON.parse(json.stdout)).toContainEqual({
      id,
      org_id: 'acme',
      name: 'listed',
      type: 'http',
      log_types: ['request', 'action'],
      enabled: true,
      status: 'backing_off',
      consecutive_failures: 3,
      next_attempt_at: null,
      last_success_at: expect.any(String),
      last_error: 'The receiver answered 503.',
      last_error_at: expect.any(String),
    })
    for (const { stdout } of [ran, json]) {
      expect(stdout).not.toContain('top-s3cret')
      expect(stdout).not.toContain('listed.example')
    }
  })

  test('shows one org alone, without the destinations for all orgs', async () => {
    await add('for all', 'https://example.com', '--all-orgs')
    await add('theirs', 'https://example.com', '--org', 'globex')
    const names = JSON.parse((await run(['list', '--org', 'globex', '--json'])).stdout)
    expect(names.map(({ name }: { name: string }) => name)).toEqual(['theirs'])
    const none = await run(['list', '--org', 'nobody'])
    expect(none).toMatchObject({ code: 0, stdout: expect.stringContaining('no destination of org nobody') })
  })

  test('cuts its lines to the terminal and lets no name steer it', async () => {
    await add(`esc\u001b[2J${'long '.repeat(40)}`, 'https://example.com')
    const { stdout } = await run(['list'], { columns: 90 })
    expect(stdout).not.toContain('\u001b')
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(90)
  })
})

describe('destinations enable and disable', () => {
  test('switch by id or name, say what happens next, and do nothing twice', async () => {
    const id = await add('switched', 'https://example.com')
    const off = await run(['disable', 'switched'])
    expect(off).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`Destination ${id} (switched) is disabled.`),
    })
    expect(off.stdout).toContain('resumes there')
    expect(await sql`SELECT status FROM spillway.delivery_state WHERE destination_id = ${id}`).toMatchObject([
      { status: 'disabled' },
    ])
    const on = await run(['enable', String(id)])
    expect(on).toMatchObject({ code: 0, stdout: expect.stringContaining('resumes at its cursor') })
    const again = await run(['enable', String(id), '--json'])
    expect(JSON.parse(again.stdout)).toEqual({ id, name: 'switched', enabled: true, changed: false })
    expect((await run(['enable', String(id)])).stdout).toContain('was already enabled')
    expect(await sql`SELECT enabled FROM spillway.destinations WHERE id = ${id}`).toMatchObject([
      { enabled: true },
    ])
  })

  test('refuse a name that several have, with their ids', async () => {
    const ids = [
      await add('twin', 'https://example.com'),
      await add('twin', 'https://example.com', '--all-orgs'),
    ]
    const ran = await run(['disable', 'twin'])
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toContain(`${ids[0]} (org acme), ${ids[1]} (all orgs)`)
  })

  test.each(['enable', 'disable', 'test'])('%s says that there is none', async (command) => {
    for (const name of ['nobody', '999999', '99999999999999999999']) {
      const ran = await run([command, name])
      expect(ran).toMatchObject({ code: 1, stdout: '' })
      expect(ran.stderr).toContain(`There is no destination "${name}".`)
    }
  })
})

describe('destinations test', () => {
  test('sends one event that is marked as a test, and touches neither cursors nor state', async () => {
    const receiver = await receiving()
    const id = await add('tested', receiver.url, '--disabled')
    const books = () => sql`
      SELECT s.*, c.log_type, c.position, c.frozen, c.updated_at, d.version
      FROM spillway.delivery_state s JOIN spillway.cursors c USING (destination_id)
      JOIN spillway.destinations d ON d.id = s.destination_id WHERE d.id = ${id} ORDER BY c.log_type`
    const before = await books()
    const ran = await run(['test', 'tested', '--json'])
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    const [request] = await receiver.received(1)
    const [event] = JSON.parse(String(request?.body))
    expect(event).toMatchObject({ event: 'request', org_id: 'acme', data: { test: true } })
    expect(event.id).toMatch(/^request:test-[0-9a-f-]{36}$/)
    expect(request?.headers.authorization).toBe('Bearer top-s3cret')
    expect(request?.headers['webhook-id']).toMatch(/^batch_test_[0-9a-f]{32}$/)
    expect(JSON.parse(ran.stdout)).toEqual({
      destination: { id, name: 'tested', type: 'http' },
      event_id: event.id,
      outcome: 'accepted',
      reason: null,
      status: null,
      message: null,
      duration_ms: expect.any(Number),
    })
    expect(await books()).toEqual(before)
    expect((await run(['test', 'tested'])).stdout).toMatch(/Outcome: accepted after \d+ ms\./)
  })

  test('tells what came of it and exits 1 for anything but accepted', async () => {
    const receiver = await receiving()
    await add('refusing', receiver.url)
    for (const [status, outcome] of [
      [401, 'unauthorized'],
      [400, 'rejected'],
      [503, 'retry'],
      [410, 'gone'],
    ] as const) {
      receiver.reply({ status, body: 'top-s3cret' })
      const ran = await run(['test', 'refusing', '--json'])
      expect(ran.code).toBe(1)
      expect(JSON.parse(ran.stdout)).toMatchObject({ outcome, status, reason: 'http_status' })
      expect(ran.stdout + ran.stderr).not.toContain('top-s3cret')
    }
    const rows = await sql`
      SELECT d.enabled, s.status FROM spillway.destinations d
      JOIN spillway.delivery_state s ON s.destination_id = d.id WHERE d.name = 'refusing'`
    expect(rows).toMatchObject([{ enabled: true, status: 'active' }])
  })

  test('tells of an endpoint that is not there', async () => {
    await add('absent', `http://127.0.0.1:${await closedPort()}`)
    const ran = await run(['test', 'absent'])
    expect(ran.code).toBe(1)
    expect(ran.stdout).toContain('Outcome: retry')
    expect(ran.stdout).toContain('refused the connection')
  })

  test('does not send to a destination that is invalid, and names the bad fields', async () => {
    await sql`
      INSERT INTO spillway.destinations (org_id, name, type, log_types, config, filter)
      VALUES ('acme', 'invalid', 'http', '{request}', '{"url": 1}', '{}')`
    const ran = await run(['test', 'invalid'])
    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(ran.stderr).toContain('config.url: ')
    expect(ran.stderr).toContain('filter: ')
  })

  test('ends when it is interrupted', async () => {
    const receiver = await receiving()
    receiver.always(hang)
    await add('hanging', receiver.url)
    const interrupt = new AbortController()
    const ran = run(['test', 'hanging'], { signal: interrupt.signal })
    await receiver.received(1)
    interrupt.abort('SIGINT')
    expect(await ran).toMatchObject({ code: 1, stderr: expect.stringContaining('Interrupted') })
  })
})
