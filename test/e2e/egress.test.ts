import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { createAuthority } from '../support/certificates.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled, stateOf } from '../support/destinations.ts'
import { startFront } from '../support/hostile.ts'
import { whenDone } from '../support/postgres.ts'
import { startProxy } from '../support/proxy.ts'
import { createScene } from '../support/scene.ts'

it('calls no address that is not public, says so to customer and operator, and delivers when it is allowed', async () => {
  const { url, sql, receiver, write } = await createScene()
  const env = { SPILLWAY_BACKOFF_SCHEDULE_MS: '300' }
  const strict = await startDaemon(url, { ...env, SPILLWAY_EGRESS_ALLOW: '' })
  const literal = await insertDestination(sql, {
    url: `http://2130706433:${receiver.port}/?key=s3cret`,
    org: 'acme',
    name: 'literal',
  })
  const named = await insertDestination(sql, {
    url: `http://localhost:${receiver.port}/`,
    org: 'globex',
    name: 'named',
  })
  await write(3, 'acme')
  await write(3, 'globex')
  for (const name of ['literal', 'named']) {
    await strict.logged(
      'destination.failed',
      (line) => line.name === name && line.outcome === 'retry' && line.reason === 'address_refused',
    )
    await strict.logged('destination.backing_off', (line) => line.name === name)
  }
  expect(receiver.connections).toBe(0)
  // Enough of them to resolve names while some name servers do not answer.
  if (process.platform === 'linux') {
    expect((await readdir(`/proc/${strict.pid}/task`)).length).toBeGreaterThan(32)
  }
  expect(await stateOf(sql, literal)).toMatchObject({
    status: 'backing_off',
    last_error:
      'retry: 127.0.0.1 is not a public address; the operator may allow it with SPILLWAY_EGRESS_ALLOW.',
  })
  const { last_error } = await stateOf(sql, named)
  expect(last_error).toContain('localhost')
  expect(last_error).not.toMatch(/127\.0|::1/)
  expect(JSON.stringify(strict.lines)).not.toContain('s3cret')
  expect(await strict.stop()).toBe(0)

  const allowing = await startDaemon(url, { ...env, SPILLWAY_EGRESS_ALLOW: '127.0.0.1,localhost' })
  await sql`UPDATE spillway.destinations SET updated_at = now()`
  await settled(sql, literal, 'acme')
  await settled(sql, named, 'globex')
  expect(await allowing.stop()).toBe(0)
  const acme = receiver.requests.filter(({ path }) => path.includes('s3cret'))
  const globex = receiver.requests.filter(({ path }) => !path.includes('s3cret'))
  expect(await account(sql, acme, 'acme')).toMatchObject(nothingWrong)
  expect(await account(sql, globex, 'globex')).toMatchObject(nothingWrong)
})

it('sends everything through the proxy that it is given, which is told the credentials and nobody else', async () => {
  const { url, sql, receiver, write } = await createScene()
  const proxy = await startProxy()
  whenDone(() => proxy.close())
  const daemon = await startDaemon(url, {
    SPILLWAY_EGRESS_ALLOW: '',
    SPILLWAY_EGRESS_PROXY: `http://spill:s3cret@127.0.0.1:${proxy.port}`,
    SPILLWAY_BACKOFF_SCHEDULE_MS: '300',
    // Not for Spillway: read by nobody.
    HTTP_PROXY: 'http://127.0.0.1:1',
    HTTPS_PROXY: 'http://127.0.0.1:1',
    NO_PROXY: '*',
  })
  proxy.refuseWith(407)
  const id = await insertDestination(sql, { url: `http://receiver.example:${receiver.port}/`, name: 'far' })
  await write(5)
  const failed = await daemon.logged('destination.failed', ({ name }) => name === 'far')
  expect(failed).toMatchObject({
    outcome: 'retry',
    reason: 'egress_proxy',
    message: 'The egress proxy refuses the credentials in SPILLWAY_EGRESS_PROXY (407).',
  })
  proxy.refuseWith(undefined)
  await settled(sql, id, null)
  expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
  expect(new Set(proxy.asked)).toEqual(new Set([`receiver.example:${receiver.port}`]))
  expect(proxy.authorization).toBe(`Basic ${Buffer.from('spill:s3cret').toString('base64')}`)
  const state = await sql`SELECT * FROM spillway.delivery_state`
  const said = JSON.stringify([daemon.lines, state]) + daemon.stderr
  expect(said).not.toMatch(/s3cret|c3BpbGw6/)
  expect(JSON.stringify(receiver.requests.map(({ headers }) => headers))).not.toMatch(/proxy|c3BpbGw6/)
  expect(await daemon.stop()).toBe(0)
})

it('keeps TLS with the receiver within TLS with the proxy', async () => {
  const { url, sql, receiver, write } = await createScene()
  const authority = createAuthority('egress CA')
  const folder = await mkdtemp(join(tmpdir(), 'spillway-egress-'))
  whenDone(() => rm(folder, { recursive: true }))
  await writeFile(join(folder, 'ca.pem'), authority.cert)
  const proxy = await startProxy(authority.issue({ name: 'proxy', hosts: ['127.0.0.1'] }))
  whenDone(() => proxy.close())
  const certificate = authority.issue({ name: 'receiver', hosts: ['receiver.example'] })
  const secure = await startFront(receiver.port, () => {}, certificate)
  whenDone(() => secure.close())
  secure.turnGood()
  const daemon = await startDaemon(url, {
    SPILLWAY_EGRESS_ALLOW: '',
    SPILLWAY_EGRESS_PROXY: `https://spill:s3cret@127.0.0.1:${proxy.port}`,
    NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'),
  })
  const id = await insertDestination(sql, {
    url: `https://receiver.example:${secure.port}/`,
    delivery: { batchSize: 10 },
  })
  await insertDestination(sql, { url: `https://other.example:${secure.port}/`, name: 'impostor' })
  await write(50)
  await settled(sql, id, null)
  await daemon.logged('destination.failed', ({ name, reason }) => name === 'impostor' && reason === 'tls')
  expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
  expect(new Set(proxy.asked)).toEqual(
    new Set([`receiver.example:${secure.port}`, `other.example:${secure.port}`]),
  )
  expect(await daemon.stop()).toBe(0)
})
