import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { createAuthority } from '../support/certificates.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, type NewDestination, settled } from '../support/destinations.ts'
import { accepting, type Front, refusing, rude, rudeToTls, startFront } from '../support/hostile.ts'
import { whenDone } from '../support/postgres.ts'
import { late, type ReceivedRequest, type Reply, redirect, startReceiver } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'

const rowsEach = 12
const requestTimeoutMs = 1_000

/** One attempt of an event each; every event is taken in the end. */
const statuses = [200, 429, 500, 503, 302, 401, 408, 504, 204, 600, 599, 403]

it('a receiver that does everything it should not delays nobody else, holds nothing, hears nothing back and loses nothing', async () => {
  const { url, sql, receiver, write } = await createScene()
  const trap = await startReceiver()
  whenDone(() => trap.close())
  trap.always({ status: 200, body: '<h1>hush-login</h1>' })
  const authority = createAuthority('hostile CA')
  const folder = await mkdtemp(join(tmpdir(), 'spillway-hostile-'))
  whenDone(() => rm(folder, { recursive: true }))
  await writeFile(join(folder, 'ca.pem'), authority.cert)

  let takenBytes = 0
  const behaviours: Readonly<Record<string, Reply>> = {
    ...refusing,
    'a login page elsewhere': redirect(`${trap.url}/login?hush-target`, 302),
    'a moved endpoint': redirect(`${trap.url}/?hush-target`, 308),
    ...accepting((sentBytes) => {
      takenBytes = Math.max(takenBytes, sentBytes)
    }),
    'an answer after a while': late(2_900, { body: 'hush' }),
  }
  const names = Object.keys(behaviours)
  const isGoodOne = new Set(['healthy'])
  const servedConnections = new Set<number>()
  const attemptsOf = new Map<string, number>()
  const acceptedOnes: string[] = []
  let good = false

  /** A 200, then the same connection is cut under the next request. */
  const cutUnderRequest = ({ connection }: ReceivedRequest): Reply => {
    if (servedConnections.has(connection)) return (response) => void response.socket?.destroy()
    servedConnections.add(connection)
    return { status: 200 }
  }
  const statusOfEach = (request: ReceivedRequest): Reply => {
    const { id } = JSON.parse(request.body.toString()) as { id: string }
    const attempt = (attemptsOf.get(id) ?? 0) + 1
    attemptsOf.set(id, attempt)
    const first = statuses[(attemptsOf.size - 1) % statuses.length] ?? 200
    const status = good || attempt > 1 ? 200 : first
    if (status < 300) acceptedOnes.push(id)
    return {
      status,
      headers: { 'x-hush': 'hush-header', location: `${trap.url}/hush` },
      body: status === 204 ? '' : 'hush',
    }
  }
  const nameOf = ({ path }: Pick<ReceivedRequest, 'path'>) =>
    decodeURIComponent(/^\/([^?]*)/.exec(path)?.[1] ?? '')
  receiver.always({
    choose(request) {
      const name = nameOf(request)
      if (name === 'a status for each event') return statusOfEach(request)
      if (good || isGoodOne.has(name)) return { status: 200 }
      return name === 'a connection cut under a request'
        ? cutUnderRequest(request)
        : (behaviours[name] ?? { status: 200 })
    },
  })

  const daemon = await startDaemon(url, {
    SPILLWAY_REQUEST_TIMEOUT_MS: String(requestTimeoutMs),
    SPILLWAY_INTER_BATCH_DELAY_MS: '10',
    SPILLWAY_BACKOFF_SCHEDULE_MS: '300',
    NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'),
  })
  const ids = new Map<string, number>()
  const add = async (name: string, origin: string, more: Partial<NewDestination> = {}, config = {}) => {
    const address = `${origin}/${encodeURIComponent(name)}?key=hush-query`
    const id = await insertDestination(sql, {
      name,
      url: address,
      config: { url: address, ...config },
      delivery: { batchSize: 3 },
      ...more,
    })
    ids.set(name, id)
    return id
  }
  const fronts: Front[] = []
  const addBehindFront = async (name: string, front: Front, scheme: string) => {
    whenDone(() => front.close())
    fronts.push(front)
    await add(name, `${scheme}://127.0.0.1:${front.port}`)
  }

  const healthy = await add('healthy', receiver.url)
  for (const name of names) {
    await add(name, receiver.url, {}, name === 'an answer after a while' ? { timeoutMs: 20_000 } : {})
  }
  await add('a connection cut under a request', receiver.url)
  await add('a status for each event', receiver.url, {}, { format: 'json_object' })
  for (const [name, misbehave] of Object.entries(rude)) {
    await addBehindFront(name, await startFront(receiver.port, misbehave), 'http')
  }
  const certificate = authority.issue({ name: 'receiver', hosts: ['127.0.0.1'] })
  for (const [name, misbehave] of Object.entries(rudeToTls)) {
    await addBehindFront(name, await startFront(receiver.port, misbehave, certificate), 'https')
  }
  const last = [...ids.keys()].at(-1)
  await daemon.logged('destination.added', ({ name }) => name === last)

  await write(rowsEach)
  const failing = [
    ...Object.keys(refusing),
    'a login page elsewhere',
    'a moved endpoint',
    ...Object.keys(rude),
    ...Object.keys(rudeToTls),
  ]
  await Promise.all(failing.map((name) => daemon.logged('destination.failed', (line) => line.name === name)))

  // Everybody fails by now. The healthy one has all that was there, and each new row without waiting for others.
  await settled(sql, healthy, null)
  const healthyRequests = () => receiver.requests.filter((request) => nameOf(request) === 'healthy').length
  const delays: number[] = []
  for (let row = 0; row < 5; row += 1) {
    const before = healthyRequests()
    const began = performance.now()
    await write(1)
    while (healthyRequests() === before) await receiver.received(receiver.requests.length + 1)
    delays.push(performance.now() - began)
  }
  delays.sort((a, b) => a - b)
  expect(delays[2]).toBeLessThan(requestTimeoutMs)
  // It shares its origin, and so its connections, with those that fail.
  expect(
    daemon.lines.filter((line) => line.event === 'destination.failed' && line.name === 'healthy'),
  ).toEqual([])

  const turnedAt = receiver.requests.length
  good = true
  for (const front of fronts) front.turnGood()
  await Promise.all([...ids.values()].map((id) => settled(sql, id, null)))

  for (const name of ids.keys()) {
    if (name === 'a status for each event') continue
    // What came to one that never said yes does not count as delivered.
    const from = failing.includes(name) ? turnedAt : 0
    const own = receiver.requests.slice(from).filter((request) => nameOf(request) === name)
    expect(await account(sql, own, null), name).toMatchObject(nothingWrong)
  }
  const written = await sql<
    { id: string }[]
  >`SELECT 'request:' || id AS id FROM spillway.request_audit_log ORDER BY request_audit_log.id`
  // A 200 that the daemon has no more time for is sent again: at least once.
  expect([...new Set(acceptedOnes)]).toEqual(written.map(({ id }) => id))

  expect(trap.connections).toBe(0)
  // What the sockets' buffers of both sides hold, and not a fraction of the whole.
  expect(takenBytes).toBeGreaterThan(0)
  expect(takenBytes).toBeLessThan(20_000_000)
  await Promise.all([receiver, ...fronts].map((each) => each.disconnected()))

  expect(await sql`SELECT FROM spillway.dead_letters`).toHaveLength(0)
  expect(await sql`SELECT FROM spillway.skipped_ranges`).toHaveLength(0)
  const state = await sql`SELECT * FROM spillway.delivery_state`
  expect(state.map(({ status }) => status)).toEqual(state.map(() => 'active'))
  const errors = await sql`SELECT last_error FROM spillway.delivery_state WHERE last_error IS NOT NULL`
  expect(errors.length).toBeGreaterThanOrEqual(failing.length)
  const said = JSON.stringify([daemon.lines, state]) + daemon.stderr
  expect(said.match(/.{0,60}hush.{0,60}/)?.[0]).toBeUndefined()

  const memory = /^VmHWM:\s*(\d+) kB$/m.exec(
    await readFile(`/proc/${daemon.pid}/status`, 'utf8').catch(() => ''),
  )
  const figures = {
    destinations: ids.size,
    peakMemoryKb: Number(memory?.[1]),
    healthyDelaysMs: delays.map(Math.round),
  }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
  if (memory) expect(Number(memory[1]) / 1024).toBeLessThan(300)
  expect(await daemon.stop()).toBe(0)
})
