/**
 * I8 from end to end. Every secret field of every destination type holds a marked secret, in plain, as a variable
 * and encrypted; endpoints do everything that endpoints do, and echo what they were sent; configs are wrong in
 * every field. Then nothing that the daemon or a command says or stores holds a mark. What is sent to a receiver
 * holds them all, which shows that the search finds them.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type postgres from 'postgres'
import { expect, it } from 'vitest'
import { destinationTypes } from '../../providers/index.ts'
import { seal } from '../../src/destinations/sealing.ts'
import { findSecrets } from '../../src/destinations/secrets.ts'
import { spillway } from '../integration/cli/spillway.ts'
import { createAuthority } from '../support/certificates.ts'
import { startDaemon } from '../support/daemon.ts'
import { tokenEndpoint } from '../support/fakes/token-endpoint.ts'
import { whenDone } from '../support/postgres.ts'
import { destroy, hang, type ReceivedRequest, type Reply, startReceiver } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'
import { breakages, replaced } from '../support/secrets/breakages.ts'
import { oauthClientId, secretConfigs } from '../support/secrets/configs.ts'
import { Marks } from '../support/secrets/marks.ts'

/** What was sent, sent back. */
function echo({ headers, body, path }: ReceivedRequest, status: number): Reply {
  const back = {
    'www-authenticate': String(headers.authorization ?? 'none'),
    'x-echo': JSON.stringify(headers),
  }
  return { status, headers: back, body: JSON.stringify({ error: headers, path, body: body.toString() }) }
}

/** By the first part of the path. */
const behaviours: Readonly<Record<string, (request: ReceivedRequest) => Reply>> = {
  yes: (request) => echo(request, request.headers['dd-api-key'] === undefined ? 200 : 202),
  'other-yes': (request) => echo(request, 204),
  ...Object.fromEntries(
    [400, 401, 403, 404, 410, 413, 422, 500, 501, 503].map((status) => [
      String(status),
      (request: ReceivedRequest) => echo(request, status),
    ]),
  ),
  429: ({ headers }) => ({ status: 429, headers: { 'retry-after': JSON.stringify(headers) } }),
  redirect: ({ headers, path }) => ({
    status: 307,
    headers: { location: `${path}&back=${JSON.stringify(headers)}` },
  }),
  malformed: (request) => (response) =>
    void response.socket?.end(`${JSON.stringify(request.headers)}\r\n\r\n`),
  'bad-header': (request) => (response) =>
    void response.socket?.end(`HTTP/1.1 200 OK\r\n${JSON.stringify(request.headers)}\r\nx: \u0000\r\n\r\n`),
  destroy: () => destroy,
  hang: () => hang,
}
const tokenBehaviours = ['yes', '400', '401', '500', 'redirect', 'malformed', 'destroy', 'no-token']

it('no log line, error, state, record or answer ever holds a secret, whatever an endpoint or a config does', async () => {
  const { url, sql, receiver } = await createScene()
  const issuer = await startReceiver()
  whenDone(() => issuer.close())
  const authority = createAuthority('test CA')
  const secure = createServer({
    ...authority.issue({ name: 'receiver', hosts: ['127.0.0.1'] }),
    requestCert: true,
    ca: authority.cert,
  })
  secure.on('request', (incoming, response) => {
    response
      .writeHead(401, { 'x-echo': JSON.stringify(incoming.headers) })
      .end(JSON.stringify(incoming.headers))
  })
  secure.listen(0, '127.0.0.1')
  await once(secure, 'listening')
  whenDone(async () => {
    secure.closeAllConnections()
    secure.close()
  })

  const marks = new Marks()
  const client = authority.issue({ name: 'client' })
  const clientSecret = marks.text('http clientSecret')
  const tokens = tokenEndpoint({
    clientId: oauthClientId,
    clientSecret,
    tokenPrefix: marks.text('access token'),
  })
  const of = (request: ReceivedRequest) => behaviours[request.path.split('/')[1] ?? '']
  receiver.always({ choose: (request) => of(request)?.(request) ?? { status: 404 } })
  issuer.always({
    choose: (request) =>
      request.path === '/yes'
        ? tokens.answer(request)
        : (of(request)?.(request) ?? { body: `{"${clientSecret}":1}` }),
  })

  // The rows that are right, against everything that can happen.
  const rows: Row[] = []
  const variables = new Map<string, string>()
  const key = { id: 'k1', key: new Uint8Array(randomBytes(32)) }
  const keyRing = `k1:${marks.keep('key ring', Buffer.from(key.key).toString('base64'))}`
  const add = (type: string, config: unknown) => rows.push({ id: 1_000 + rows.length, type, config })
  const variantsOf = (type: string, at: string, tokenAt: string, securePort: number) =>
    Object.values(
      secretConfigs[type]?.(marks, {
        url: `${receiver.url}/${at}`,
        secureUrl: `https://127.0.0.1:${securePort}/${at}`,
        tokenUrl: `${issuer.url}/${tokenAt}`,
        client,
        ca: authority.cert,
      }) ?? {},
    ).map((config) => ({ ...config, timeoutMs: 1_500 }))
  const securePort = (secure.address() as AddressInfo).port
  for (const { type } of destinationTypes) {
    for (const at of Object.keys(behaviours)) {
      for (const config of variantsOf(type, at, 'yes', at === 'yes' ? securePort : receiver.port))
        add(type, config)
    }
    for (const tokenAt of tokenBehaviours) {
      for (const config of variantsOf(type, 'yes', tokenAt, securePort))
        if ('auth' in config) add(type, config)
    }
  }
  // Each secret as a variable, and as a ciphertext: of its own row, of another one, and of a key that is gone.
  for (const type of destinationTypes) {
    for (const config of variantsOf(type.type, '500', 'yes', receiver.port)) {
      for (const { at, written } of findSecrets(type, config)) {
        const name = `V${variables.size}`
        variables.set(name, String(written))
        add(type.type, replaced(config, at, { $secret: name }))
        add(type.type, replaced(config, at, { $secret: 'MISSING' }))
        const id = 1_000 + rows.length
        add(type.type, replaced(config, at, seal(String(written), id, key)))
        add(type.type, replaced(config, at, seal(String(written), id, key)))
        add(type.type, replaced(config, at, seal(String(written), id + 2, { ...key, id: 'gone' })))
      }
    }
  }
  const usable = rows.length
  // And everything that people write wrongly.
  const broken = destinationTypes.flatMap(({ type }) =>
    variantsOf(type, '404', 'yes', receiver.port).flatMap((config) =>
      breakages(config, marks.text('in a wrong place')).map((each) => ({ type, config: each.config })),
    ),
  )
  for (const { type, config } of broken) add(type, config)

  const secretEnv = Object.fromEntries(
    [...variables].map(([name, value]) => [`SPILLWAY_SECRET_${name}`, value]),
  )
  const env = { ...secretEnv, SPILLWAY_SECRET_KEYS: keyRing, SPILLWAY_EGRESS_ALLOW: '127.0.0.0/8' }
  const collector = await startReceiver()
  whenDone(() => collector.close())
  const daemon = await startDaemon(url, { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url })
  await insert(sql, rows)
  await sql`INSERT INTO spillway.request_audit_log (org_id) VALUES ('acme'), ('acme')`
  await allSaid(sql, 1_000 + usable)
  const base = String((await daemon.logged('daemon.started')).http)
  const answers = await Promise.all(
    ['/livez', '/readyz', '/metrics', '/nothing', '/destinations'].map(async (path) => {
      const answer = await fetch(new URL(path, base))
      return `${JSON.stringify([...answer.headers])}${await answer.text()}`
    }),
  )
  // Edits, and a stop with batches on their way.
  await sql`UPDATE spillway.destinations SET name = 'edited' WHERE id % 7 = 0`
  await sql`UPDATE spillway.destinations SET enabled = false WHERE id % 11 = 0`
  await daemon.stop()

  const commands: string[] = []
  const command = async (args: readonly string[], stdin?: string) => {
    const ran = await spillway(args, {
      env: { ...env, DATABASE_URL: url },
      ...(stdin !== undefined && { stdin }),
    })
    commands.push(`${ran.stdout}${ran.stderr}`)
    return ran
  }
  await command(['destinations', 'list'])
  await command(['destinations', 'list', '--json'])
  await command(['doctor'])
  await command(['secret', 'encrypt', '--destination', '1000'], marks.text('to encrypt'))
  for (let id = 1_000; id < 1_000 + usable; id += 17)
    await command(['destinations', 'test', String(id), '--json'])
  for (const [index, { type, config }] of broken.entries()) {
    if (index % 61 !== 0) continue
    const args = ['--name', 'x', '--type', type, '--log-types', 'request', '--all-orgs', '--disabled']
    await command(['destinations', 'add', ...args, '--encrypt', '--config-file', '-'], JSON.stringify(config))
  }
  await command(
    ['destinations', 'add', '--type', 'http', '--config-file', '-'],
    `{"url": ${marks.text('no JSON')}`,
  )
  await command(['secret', 'encrypt', '--destination', '1000', '--all'])
  await command(['secret', 'rotate', '--include-plain'])

  const told: Readonly<Record<string, string>> = {
    'a log line': JSON.stringify(daemon.lines),
    stderr: daemon.stderr,
    'a span': collector.requests.map(({ body }) => body.toString('latin1')).join('\n'),
    'an answer of the daemon': answers.join('\n'),
    'what a command says': commands.join('\n'),
    ...(await stored(sql)),
  }
  for (const [where, text] of Object.entries(told)) expect(marks.in(text), where).toEqual([])

  // It would have been found: every secret went out, but for the private key and those in wrong places.
  const sent = JSON.stringify(
    [...receiver.requests, ...issuer.requests].map(({ headers, path, body }) => [
      headers,
      path,
      String(body),
    ]),
  )
  const kept = ['key ring', 'http key', 'http signing', 'in a wrong place', 'to encrypt', 'no JSON']
  expect(marks.in(sent)).toEqual(
    expect.arrayContaining(marks.names.filter((name) => !kept.some((each) => name.startsWith(each)))),
  )
  const codes = new Set(daemon.lines.map(({ event }) => event))
  expect([...codes]).toEqual(
    expect.arrayContaining([
      'destination.invalid',
      'destination.failed',
      'destination.backing_off',
      'batch.delivered',
    ]),
  )
  expect(told.delivery_state).toContain('unauthorized')
  expect(told['a span']).toContain('spillway.deliver')
}, 240_000)

it('the daemon opens variables and ciphertexts, says which cannot be opened, and takes the row up when it is mended', async () => {
  const { url, sql, receiver, write } = await createScene()
  const key = { id: 'k1', key: new Uint8Array(32).fill(7) }
  const daemon = await startDaemon(url, {
    SPILLWAY_SECRET_KEYS: `k1:${Buffer.from(key.key).toString('base64')}`,
    SPILLWAY_SECRET_SIEM: 'by-variable',
  })
  const bearer = (path: string, token: unknown) => ({
    url: `${receiver.url}/${path}`,
    auth: { type: 'bearer', token },
  })
  await insert(sql, [
    { id: 1, type: 'http', config: bearer('variable', { $secret: 'SIEM' }) },
    { id: 2, type: 'http', config: bearer('ciphertext', seal('by-ciphertext', 2, key)) },
    { id: 3, type: 'http', config: bearer('moved', seal('by-ciphertext', 2, key)) },
    { id: 4, type: 'http', config: bearer('missing', { $secret: 'NONE' }) },
    { id: 5, type: 'http', config: bearer('ring', { $secret: 'KEYS' }) },
  ])
  await daemon.logged('destination.invalid', ({ destination_id }) => destination_id === 5)
  await write(1)
  await receiver.received(2)
  const states = await sql`
    SELECT status, last_error FROM spillway.delivery_state WHERE destination_id > 2 ORDER BY destination_id`
  expect(states).toMatchObject([
    {
      status: 'invalid',
      last_error: expect.stringMatching(/^config\.auth\.token: does not open with the key "k1"/),
    },
    { status: 'invalid', last_error: expect.stringContaining('SPILLWAY_SECRET_NONE, which is not set') },
    { status: 'invalid', last_error: expect.stringContaining('must not name SPILLWAY_SECRET_KEYS') },
  ])
  await sql`UPDATE spillway.destinations SET config = ${sql.json(bearer('moved', seal('its-own', 3, key)) as never)} WHERE id = 3`
  const requests = await receiver.received(3)
  expect(Object.fromEntries(requests.map(({ path, headers }) => [path, headers.authorization]))).toEqual({
    '/variable': 'Bearer by-variable',
    '/ciphertext': 'Bearer by-ciphertext',
    '/moved': 'Bearer its-own',
  })
  await daemon.stop()
})

interface Row {
  readonly id: number
  readonly type: string
  readonly config: unknown
}

async function insert(sql: postgres.Sql, rows: readonly Row[]): Promise<void> {
  await sql`
    INSERT INTO spillway.destinations (id, name, type, log_types, config)
    SELECT (row ->> 'id')::bigint, 'marked ' || (row ->> 'id'), row ->> 'type', '{request}', row -> 'config'
    FROM jsonb_array_elements(${JSON.stringify(rows)}::text::jsonb) row`
}

/** Waits until of each destination below `id` something is known: delivered, failed or invalid. */
async function allSaid(sql: postgres.Sql, id: number): Promise<void> {
  for (;;) {
    const [row] = await sql<{ silent: number }[]>`
      SELECT count(*)::int AS silent FROM spillway.delivery_state
      WHERE destination_id < ${id} AND last_success_at IS NULL AND last_error IS NULL`
    if (row?.silent === 0) return
    await sql`SELECT pg_sleep(0.1)`
  }
}

/** Every table of the schema as text, without the configs themselves. */
async function stored(sql: postgres.Sql): Promise<Record<string, string>> {
  const tables = await sql<{ name: string }[]>`
    SELECT tablename AS name FROM pg_tables WHERE schemaname = 'spillway'`
  const texts: Record<string, string> = {}
  for (const { name } of tables) {
    const [row] = await sql<{ text: string }[]>`
      SELECT coalesce(json_agg(to_jsonb(t) - 'config'), '[]')::text AS text FROM ${sql(`spillway.${name}`)} t`
    texts[name] = row?.text ?? ''
  }
  return texts
}
