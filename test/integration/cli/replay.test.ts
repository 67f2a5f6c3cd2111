import { userInfo } from 'node:os'
import { beforeEach, describe, expect, test } from 'vitest'
import { startDaemon } from '../../support/daemon.ts'
import { insertDestination, settled } from '../../support/destinations.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { replayed } from '../../support/replays.ts'
import { createScene } from '../../support/scene.ts'
import { createXactTable } from '../../support/xact-table.ts'
import { spillway } from './spillway.ts'

const database = await createTestDatabase()
const { sql } = database
const env = { DATABASE_URL: database.url, PATH: process.env.PATH }
const run = (...args: readonly string[]) => spillway(['replay', ...args], { env })
const url = 'http://127.0.0.1:9'
const acme = await insertDestination(sql, { url, name: 'acme', org: 'acme', logTypes: ['request', 'action'] })
const other = await insertDestination(sql, { url, name: 'other', org: 'other' })

async function skip(destinationId: number, reason = 'backlog_expired'): Promise<string> {
  const [row] = await sql`
    INSERT INTO spillway.skipped_ranges (destination_id, log_type, from_position, to_position, event_count, reason)
    VALUES (${destinationId}, 'request', '0', '10', 10, ${reason}) RETURNING id`
  return String(row?.id)
}

const count = async () => (await sql`SELECT FROM spillway.replays`).length

describe('asking for a replay', () => {
  beforeEach(async () => {
    await sql`DELETE FROM spillway.replays`
  })

  test('stores what is asked for, by whom and when', async () => {
    const ran = await run('acme', '--range', 'request', '5', '10', '--detach')
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toMatch(
      /^Replay \d+ to destination \d+ \(acme\) waits for the daemon to take it up\.\n$/,
    )
    expect(await sql`SELECT * FROM spillway.replays`).toMatchObject([
      {
        destination_id: String(acme),
        kind: 'range',
        log_type: 'request',
        from_position: '5',
        to_position: '10',
        state: 'waiting',
        requested_by: userInfo().username,
        database_user: 'postgres',
        application_name: 'spillway cli',
        requested_at: expect.any(Date),
      },
    ])
  })

  test('by time, by dead letters and by a skipped range, as JSON', async () => {
    const since = await run(
      'acme',
      '--since',
      '2026-11-20',
      '--until',
      '2026-11-21T00:00:00Z',
      '--detach',
      '--json',
    )
    expect(JSON.parse(since.stdout)).toMatchObject({
      destination_id: acme,
      kind: 'since',
      log_type: null,
      since: '2026-11-20T00:00:00.000Z',
      until: '2026-11-21T00:00:00.000Z',
      state: 'waiting',
      events_sent: 0,
    })
    const dead = await run(
      String(acme),
      '--dead-letters',
      '--log-type',
      'action',
      '--by',
      'ticket 12',
      '--detach',
      '--json',
    )
    expect(JSON.parse(dead.stdout)).toMatchObject({
      kind: 'dead_letters',
      log_type: 'action',
      requested_by: 'ticket 12',
    })
    await sql`DELETE FROM spillway.replays`
    const id = await skip(acme)
    const skipped = await run('acme', '--skipped', id, '--detach', '--json')
    expect(JSON.parse(skipped.stdout)).toMatchObject({
      kind: 'skipped',
      log_type: 'request',
      from_position: '0',
      to_position: '10',
      skipped_id: Number(id),
    })
  })

  test('of an "xact" source takes its positions', async () => {
    await createXactTable(sql, { name: 'visit' })
    await insertDestination(sql, { url, name: 'visits', logTypes: ['visit'] })
    const ran = await run('visits', '--range', 'visit', '812', "900/'0b9c", '--detach')
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    const wrong = await run('visits', '--range', 'visit', '812/', '900', '--detach')
    expect(wrong).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('"812/" is no position of this source'),
    })
  })
})

describe('is refused', () => {
  test.each([
    { args: [], says: 'id or name: is missing' },
    { args: ['acme'], says: 'are all missing; give one' },
    { args: ['acme', '--dead-letters', '--since', '2026-11-20'], says: 'contradict each other' },
    { args: ['acme', '--until', '2026-11-20', '--dead-letters'], says: 'is the end of --since' },
    { args: ['acme', '--since', 'yesterday'], says: 'must be an ISO 8601 instant' },
    { args: ['acme', '--since', '2026-11-20', '--until', '2026-11-20'], says: 'does not come after --since' },
    { args: ['acme', '--range', 'request', '1'], says: 'takes three values' },
    { args: ['acme', '--range', 'request', '1', '2', '3'], says: 'takes three values' },
    {
      args: ['acme', '--range', 'request', '1', 'two'],
      says: '"two" is no position of this source; it must be a number',
    },
    { args: ['acme', '--range', 'request', '10', '9'], says: 'is empty: 9 does not come after 10' },
    { args: ['acme', '--skipped', 'all'], says: 'must be the id of a range' },
    {
      args: ['acme', '--range', 'request', '1', '2', '--log-type', 'action'],
      says: 'is for --since and --dead-letters',
    },
  ])('with exit code 2: $says', async ({ args, says }) => {
    const before = await count()
    expect(await run(...args)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(says) })
    expect(await count()).toBe(before)
  })

  test.each([
    ['an unknown destination', () => run('nobody', '--dead-letters'), 'There is no destination "nobody"'],
    [
      'another log type',
      () => run('acme', '--range', 'access', '1', '2'),
      'does not get the log type access',
    ],
    [
      'a range of another destination',
      async () => run('acme', '--skipped', await skip(other)),
      'has no skipped range',
    ],
    ['a range that there is not', () => run('acme', '--skipped', '999999'), 'has no skipped range 999999'],
    [
      'a range of a former life of the source',
      async () => {
        const id = await skip(other)
        await sql`UPDATE spillway.skipped_ranges SET life = gen_random_uuid() WHERE id = ${id}`
        return run('other', '--skipped', id)
      },
      'pointed elsewhere or rebased since',
    ],
    [
      'a range that was replayed',
      async () => {
        const id = await skip(acme)
        await sql`UPDATE spillway.skipped_ranges SET replayed_at = now() WHERE id = ${id}`
        return run('acme', '--skipped', id)
      },
      'was replayed already',
    ],
    [
      'a disabled destination',
      async () => {
        await sql`UPDATE spillway.destinations SET enabled = false WHERE id = ${other}`
        return run('other', '--dead-letters')
      },
      'is disabled; nothing is sent to it.\nEnable it first',
    ],
    [
      'an invalid destination',
      async () => {
        await insertDestination(sql, { url, name: 'broken', config: {} })
        return run('broken', '--dead-letters')
      },
      'The destination is invalid',
    ],
    [
      'events too old for the receiver',
      async () => {
        const config = { apiKey: 'a'.repeat(32), site: 'datadoghq.com' }
        const id = await insertDestination(sql, { url, name: 'dog', type: 'datadog', config })
        return run('dog', '--skipped', await skip(id, 'too_old_for_provider'))
      },
      'still too old',
    ],
  ] as const)('%s', async (_, command, says) => {
    const before = await count()
    const ran = await command()
    expect(ran).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining(says) })
    // The hint is a line of its own.
    expect(ran.stderr.trim().split('\n').length).toBeGreaterThan(1)
    expect(await count()).toBe(before)
  })

  test('what overlaps with a replay that has not ended, and nothing else', async () => {
    await sql`DELETE FROM spillway.replays`
    const range = (from: string, to: string) => run('acme', '--range', 'request', from, to, '--detach')
    expect((await range('10', '20')).code).toBe(0)
    expect(await range('19', '25')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('may send the same events'),
    })
    expect((await range('5', '11')).code).toBe(1)
    expect((await range('0', '100')).code).toBe(1)
    expect((await range('20', '25')).code).toBe(0)
    expect((await range('5', '10')).code).toBe(0)
    // Times and positions cannot be held against each other.
    expect((await run('acme', '--since', '2026-11-20', '--detach')).code).toBe(1)
    expect((await run('acme', '--since', '2026-11-20', '--log-type', 'action', '--detach')).code).toBe(0)
    expect((await run('acme', '--dead-letters', '--detach')).code).toBe(0)
    expect((await run('acme', '--dead-letters', '--log-type', 'request', '--detach')).code).toBe(1)
    await sql`UPDATE spillway.replays SET state = 'done'`
    expect((await range('0', '100')).code).toBe(0)
  })

  test('one of two that are asked for at the same moment', async () => {
    for (let round = 0; round < 5; round++) {
      await sql`DELETE FROM spillway.replays`
      const both = await Promise.all(
        [1, 2].map(() => run('acme', '--range', 'request', '0', '9', '--detach')),
      )
      expect(both.map(({ code }) => code).toSorted()).toEqual([0, 1])
      expect(await count()).toBe(1)
    }
    await sql`DELETE FROM spillway.replays`
    const row = { destination_id: acme, kind: 'dead_letters' }
    for (const isolation of ['read committed', 'serializable']) {
      const attempts = [1, 2, 3].map(() =>
        sql.begin(`isolation level ${isolation}`, async (own) => {
          await own`SELECT count(*) FROM spillway.replays`
          await own`INSERT INTO spillway.replays ${own(row)}`
        }),
      )
      const done = await Promise.allSettled(attempts)
      expect(done.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
      await sql`DELETE FROM spillway.replays`
    }
    const repeatable = sql.begin(
      'isolation level repeatable read',
      (own) => own`INSERT INTO spillway.replays ${own(row)}`,
    )
    await expect(repeatable).rejects.toThrow(
      'cannot be requested in a transaction of the level repeatable read',
    )
  })
})

test('only a replay by time has a time, or a part of a skipped range would count as the whole', async () => {
  const row = { destination_id: acme, kind: 'skipped', skipped_id: 1, since: '2026-01-01T00:00:00Z' }
  await expect(sql`INSERT INTO spillway.replays ${sql(row)}`).rejects.toThrow('violates check constraint')
})

describe('a replay that was asked for', () => {
  test('waits without a daemon, and the command says so; Ctrl-C leaves it waiting', async () => {
    await sql`DELETE FROM spillway.replays`
    const abort = new AbortController()
    const onStderr = (text: string) => {
      if (text.includes('It waits until one does')) abort.abort()
    }
    const ran = await spillway(['replay', 'acme', '--dead-letters'], { env, signal: abort.signal, onStderr })
    expect(ran.code).toBe(1)
    expect(ran.stderr).toContain('none runs on this database. It waits until one does')
    expect(ran.stderr).toMatch(/Replay (\d+) goes on without you: .*`spillway replay cancel \1` ends it\./)
    expect(await sql`SELECT state FROM spillway.replays`).toEqual([{ state: 'waiting' }])
  })

  test('is listed and can be cancelled, once', async () => {
    const list = await run('list')
    expect(list.stdout).toMatch(/ID +DESTINATION +WHAT +STATE/)
    expect(list.stdout).toContain('dead letters of all log types  waiting')
    const [row] = JSON.parse((await run('list', '--json')).stdout)
    expect(row).toMatchObject({ destination_id: acme, state: 'waiting', requested_by: userInfo().username })
    expect((await run('cancel', String(row.id))).stdout).toContain(
      `Replay ${row.id} is cancelled; 0 events had been sent.`,
    )
    expect(await run('cancel', String(row.id))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('has ended already: cancelled'),
    })
    expect(await run('cancel', '4711')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('There is no replay "4711"'),
    })
  })

  test('may be cancelled by its state alone, and may have a time without an end', async () => {
    await sql`DELETE FROM spillway.replays`
    await sql`
      INSERT INTO spillway.replays (destination_id, kind, since, until)
      VALUES (${acme}, 'since', '-infinity', 'infinity')`
    expect(await run('list')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('all log types since the beginning'),
    })
    expect((await run('list', '--json')).code).toBe(0)
    await sql`DELETE FROM spillway.replays`
    const watching = run('acme', '--dead-letters')
    while ((await count()) === 0) await sql`SELECT pg_sleep(0.05)`
    await sql`UPDATE spillway.replays SET state = 'cancelled'`
    expect(await watching).toMatchObject({ code: 1, stdout: expect.stringContaining('was cancelled') })
  })

  test('of skipped ranges is helped by their list', async () => {
    const id = await skip(acme)
    const { stdout } = await run('skipped', 'acme', '--json')
    expect(JSON.parse(stdout)[0]).toMatchObject({ id: Number(id), destination_id: acme, event_count: 10 })
    expect((await run('skipped')).stdout).toMatch(/ID +DESTINATION +LOG TYPE +AFTER +UP TO +EVENTS +REASON/)
  })
})

test('shows its progress and its result, and exits by what was sent', async () => {
  const scene = await createScene()
  const delivery = { batchSize: 5, interBatchDelayMs: 150 }
  const id = await insertDestination(scene.sql, {
    url: scene.receiver.url,
    name: 'acme',
    org: 'acme',
    delivery,
  })
  await scene.write(40)
  const daemon = await startDaemon(scene.url)
  await settled(scene.sql, id, 'acme')
  const there = { DATABASE_URL: scene.url, PATH: process.env.PATH }
  const replay = (args: readonly string[], columns?: number) =>
    spillway(['replay', 'acme', ...args], { env: there, ...(columns !== undefined && { columns }) })

  const shown = await replay(['--since', '2026-01-01'], 120)
  expect(shown.code).toBe(0)
  expect(shown.stdout).toMatch(/Replay 1: \d+ of 40 events sent \(\d+ %\)/)
  expect(shown.stdout).toContain('Replay 1 is done: sent 40 events in')

  const json = await replay(['--range', 'request', '0', '10', '--json'])
  expect(JSON.parse(json.stdout)).toMatchObject({ state: 'done', events_expected: 10, events_sent: 10 })

  // Its events are refused, and the next ones are not.
  await scene.sql`
    INSERT INTO spillway.dead_letters (destination_id, log_type, event_id, reason)
    VALUES (${id}, 'request', 'request:3', 'http_status: 422'), (${id}, 'request', 'request:999', 'http_status: 422')`
  scene.receiver.always({ status: 422 })
  const refused = await replay(['--dead-letters'])
  expect(refused.code).toBe(1)
  expect(refused.stdout).toContain('1 event not taken; spillway.dead_letters has the reason.')
  expect(refused.stdout).toContain('1 event not sent: the rows are not in the source any more.')
  const nothing = await replay(['--range', 'request', '1000', '1001'])
  expect(nothing).toMatchObject({
    code: 1,
    stdout: expect.stringContaining('Replay 4 failed: Nothing after 1000'),
  })

  scene.receiver.always({ status: 200 })
  const behind = await replay(['--range', 'request', '0', '20', '--detach', '--json'])
  const running = await replayed(
    scene.sql,
    JSON.parse(behind.stdout).id,
    ({ events_sent }) => Number(events_sent) > 0,
  )
  expect(running.state).toBe('running')
  await spillway(['replay', 'cancel', String(JSON.parse(behind.stdout).id)], { env: there })
  await daemon.logged('replay.cancelled')
  expect(await daemon.stop()).toBe(0)
})
