import { PassThrough } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { seal } from '../../../src/destinations/sealing.ts'
import { openVault } from '../../../src/destinations/secrets.ts'
import { insertDestination } from '../../support/destinations.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { startReceiver } from '../../support/receiver.ts'
import { type RunOptions, spillway } from './spillway.ts'

const { url, sql } = await createTestDatabase()
const ring = (id: string, fill: number) => ({ id, key: new Uint8Array(32).fill(fill) })
const [old, fresh] = [ring('old', 1), ring('new', 2)]
const text = (...keys: ReturnType<typeof ring>[]) =>
  keys.map(({ id, key }) => `${id}:${Buffer.from(key).toString('base64')}`).join(',')

const run = (args: readonly string[], options: Partial<RunOptions> = {}, keys = text(old)) =>
  spillway(args, {
    env: { DATABASE_URL: url, SPILLWAY_SECRET_KEYS: keys, SPILLWAY_EGRESS_ALLOW: '127.0.0.1' },
    ...options,
  })

async function configOf(id: number) {
  const [row] =
    await sql`SELECT config, config::text AS text, version FROM spillway.destinations WHERE id = ${id}`
  return { config: row?.config, text: String(row?.text), version: Number(row?.version) }
}

const bearer = (token: unknown) => ({ url: 'https://example.com', auth: { type: 'bearer', token } }) as never

describe('secret encrypt', () => {
  test('prints a text that opens for the destination and no other', async () => {
    const receiver = await startReceiver()
    const id = await insertDestination(sql, { url: receiver.url, name: 'paste' })
    const other = await insertDestination(sql, { url: receiver.url, name: 'other' })
    const ran = await run(['secret', 'encrypt', '--destination', 'paste'], { stdin: 'top-s3cret\n' })
    expect(ran).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^enc:v1:old:\S+\n$/) })
    for (const each of [id, other]) {
      const config = { url: receiver.url, auth: { type: 'bearer', token: ran.stdout.trim() } }
      await sql`UPDATE spillway.destinations SET config = ${sql.json(config)} WHERE id = ${each}`
    }
    expect(await run(['destinations', 'test', 'paste'])).toMatchObject({ code: 0 })
    expect(receiver.requests[0]?.headers.authorization).toBe('Bearer top-s3cret')
    const refused = await run(['destinations', 'test', 'other'])
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('config.auth.token') })
    expect(refused.stderr).toContain('encrypted for another destination')
    expect(refused.stderr).not.toContain(ran.stdout.trim().slice(-20))
    await receiver.close()
  })

  test('asks a terminal without showing what is typed', async () => {
    await insertDestination(sql, { url: 'https://example.com', name: 'typed' })
    const terminal = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => terminal })
    const running = run(['secret', 'encrypt', '--destination', 'typed'], { stdinStream: terminal })
    for (const key of 'top-s3cret\r') terminal.write(key)
    const ran = await running
    expect(ran).toMatchObject({ code: 0, stdout: expect.stringMatching(/^enc:v1:old:/) })
    expect(ran.stderr).toContain('not shown')
    expect(ran.stdout + ran.stderr).not.toContain('s3cret')
  })

  test('ends when the user breaks it off', async () => {
    await insertDestination(sql, { url: 'https://example.com', name: 'broken off' })
    const terminal = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => terminal })
    terminal.write('half\u0003')
    const ran = await run(['secret', 'encrypt', '--destination', 'broken off'], { stdinStream: terminal })
    expect(ran).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('Broken off') })
  })

  test('refuses an empty secret, an unknown destination, and to work without a key', async () => {
    await insertDestination(sql, { url: 'https://example.com', name: 'refusing' })
    const args = ['secret', 'encrypt', '--destination']
    expect(await run([...args, 'refusing'], { stdin: '\n' })).toMatchObject({ code: 1, stdout: '' })
    expect(await run([...args, 'nobody'], { stdin: 'x' })).toMatchObject({ code: 1, stdout: '' })
    const keyless = await run([...args, 'refusing'], { stdin: 'x' }, '')
    expect(keyless).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('SPILLWAY_SECRET_KEYS: is empty'),
    })
    expect(await run(['secret', 'encrypt'], { stdin: 'x' })).toMatchObject({ code: 2 })
    expect(await run([...args, 'refusing', 'top-s3cret'], { stdin: 'x' })).toMatchObject({
      code: 2,
      stdout: '',
    })
  })

  test('with --all encrypts every secret of the row that is in plain text, and nothing else of it', async () => {
    const id = await insertDestination(sql, { url: '', name: 'all' })
    await sql`UPDATE spillway.destinations SET config = ${`{
      "url": "https://example.com/?key=1", "template": {"n": 12345678901234567890.10, "id": "{{id}}"},
      "auth": {"type": "header", "name": "X-Key", "value": "top-s3cret"},
      "headers": {"X.Team": "core", "X-Ref": {"$secret": "NAME"}}}`}::text::jsonb WHERE id = ${id}`
    const ran = await run(['secret', 'encrypt', '--destination', String(id), '--all', '--json'])
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(ran.stdout)).toMatchObject({
      encrypted: ['auth.value', 'headers.X.Team'],
      problems: [],
    })
    const { config, text: stored, version } = await configOf(id)
    expect(config).toMatchObject({
      url: 'https://example.com/?key=1',
      auth: { name: 'X-Key', value: expect.stringMatching(/^enc:v1:old:/) },
      headers: { 'X.Team': expect.stringMatching(/^enc:v1:old:/), 'X-Ref': { $secret: 'NAME' } },
    })
    expect(stored).toContain('12345678901234567890.10')
    expect(stored).not.toContain('top-s3cret')
    const again = await run(['secret', 'encrypt', '--destination', String(id), '--all'])
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('Encrypted 0 secrets') })
    expect((await configOf(id)).version).toBe(version)
  })
})

describe('destinations add --encrypt', () => {
  test('stores a row whose secrets are encrypted for it from the start', async () => {
    const receiver = await startReceiver()
    const config = JSON.stringify({ url: receiver.url, auth: { type: 'bearer', token: 'top-s3cret' } })
    const args = ['--type', 'http', '--log-types', 'request', '--all-orgs', '--config', config, '--encrypt']
    const ran = await run(['destinations', 'add', '--name', 'sealed', ...args])
    expect(ran).toMatchObject({ code: 0, stdout: expect.stringContaining('Encrypted 1 secret: auth.token.') })
    const [row] =
      await sql`SELECT id, config::text AS text, version FROM spillway.destinations WHERE name = 'sealed'`
    expect(row?.text).toContain('enc:v1:old:')
    expect(row?.text).not.toContain('top-s3cret')
    expect(row?.version).toBe('1')
    expect(await run(['destinations', 'test', 'sealed'])).toMatchObject({ code: 0 })
    expect(receiver.requests[0]?.headers.authorization).toBe('Bearer top-s3cret')
    expect(await run(['destinations', 'add', '--name', 'keyless', ...args], {}, '')).toMatchObject({
      code: 2,
    })
    expect(await sql`SELECT FROM spillway.destinations WHERE name = 'keyless'`).toHaveLength(0)
    await receiver.close()
  })
})

describe('secret rotate', () => {
  test('encrypts everything anew that is not under the first key, once', async () => {
    await sql`DELETE FROM spillway.destinations`
    const ids = []
    for (const name of ['a', 'b', 'c', 'plain']) {
      ids.push(await insertDestination(sql, { url: 'https://example.com', name, org: 'acme' }))
    }
    const [a = 0, b = 0, c = 0, plain = 0] = ids
    const put = (id: number, config: never) =>
      sql`UPDATE spillway.destinations SET config = ${sql.json(config)} WHERE id = ${id}`
    await put(a, bearer(seal('one', a, old)))
    await put(b, {
      ...(bearer(seal('two', b, old)) as object),
      headers: { k: seal('three', b, fresh) },
    } as never)
    await put(c, bearer(seal('four', c, fresh)))
    await put(plain, bearer('top-s3cret'))
    const before = await Promise.all(ids.map(configOf))

    const dry = await run(['secret', 'rotate', '--dry-run', '--json'], {}, text(fresh, old))
    expect(JSON.parse(dry.stdout)).toMatchObject({
      dry_run: true,
      key: 'new',
      destinations: 4,
      secrets: 2,
      failed: [],
    })
    expect(await Promise.all(ids.map(configOf))).toEqual(before)

    const ran = await run(['secret', 'rotate'], {}, text(fresh, old))
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toContain('Encrypted 2 secrets of 2 destinations with the key "new", of 4 in all.')
    const after = await Promise.all(ids.map(configOf))
    expect(after[0]?.text).toContain('enc:v1:new:')
    expect(after[1]?.text).not.toContain('enc:v1:old:')
    expect(after.slice(2)).toEqual(before.slice(2))

    expect(await run(['secret', 'rotate'], {}, text(fresh))).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Encrypted 0 secrets of 0 destinations'),
    })
    expect(await Promise.all(ids.map(configOf))).toEqual(after)

    const all = await run(['secret', 'rotate', '--include-plain', '--json'], {}, text(fresh))
    expect(JSON.parse(all.stdout)).toMatchObject({
      encrypted: [{ name: 'plain', org_id: 'acme', places: ['auth.token'] }],
    })
    expect((await configOf(plain)).text).not.toContain('top-s3cret')
  })

  test('names what cannot be decrypted, leaves it, goes on and exits 1', async () => {
    await sql`DELETE FROM spillway.destinations`
    const [moved, lost, good] = [
      await insertDestination(sql, { url: '', name: 'moved', config: bearer('x') }),
      await insertDestination(sql, { url: '', name: 'lost', type: 'unknown', config: bearer('x') }),
      await insertDestination(sql, { url: '', name: 'good', config: bearer('x') }),
    ]
    const put = (id: number, sealed: string) =>
      sql`UPDATE spillway.destinations SET config = ${sql.json(bearer(sealed))} WHERE id = ${id}`
    await put(moved, seal('s', good, old))
    await put(lost, seal('s', lost, ring('gone', 3)))
    await put(good, seal('s', good, old))
    const ran = await run(['secret', 'rotate'], {}, text(fresh, old))
    expect(ran.code).toBe(1)
    expect(ran.stderr).toContain(
      `Destination ${moved} (moved): config.auth.token does not open with the key "old"`,
    )
    expect(ran.stderr).toContain(
      `Destination ${lost} (lost): config.auth.token is encrypted with the key "gone"`,
    )
    expect((await configOf(good)).text).toContain('enc:v1:new:')
    expect((await configOf(moved)).text).toContain('enc:v1:old:')
  })

  test('never overwrites an edit that is made meanwhile', async () => {
    await sql`DELETE FROM spillway.destinations`
    const id = await insertDestination(sql, { url: '', name: 'raced', config: bearer('x') })
    await sql`UPDATE spillway.destinations SET config = ${sql.json(bearer(seal('before', id, old)))} WHERE id = ${id}`
    const editor = await sql.reserve()
    await editor`BEGIN`
    await editor`UPDATE spillway.destinations SET config = ${sql.json(bearer(seal('edited', id, old)))} WHERE id = ${id}`
    // The command reads the row as it was, and its write waits for the lock of the edit.
    const running = run(['secret', 'rotate', '--json'], {}, text(fresh, old))
    for (;;) {
      const waiting = await sql`
        SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'spillway cli'`
      if (waiting.length > 0) break
      await sql`SELECT pg_sleep(0.02)`
    }
    await editor`COMMIT`
    editor.release()
    expect(JSON.parse((await running).stdout)).toMatchObject({ secrets: 1, failed: [] })
    const { config } = await configOf(id)
    const vault = openVault({ secretKeys: [fresh], secretVariables: new Map() })
    expect(vault.of(id).reveal(config.auth.token, [], 'credential')).toEqual({ value: 'edited' })
  })
})
