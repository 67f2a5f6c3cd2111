import { randomBytes } from 'node:crypto'
import postgres from 'postgres'
import { describe, expect, test } from 'vitest'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { spillway } from './spillway.ts'

const database = await createTestDatabase()
const { sql } = database
const env = { DATABASE_URL: database.url }
const run = (...args: readonly string[]) => spillway(['sources', ...args], { env })
const notify = (...args: readonly string[]) => run('notify', ...args)

/** Payloads that arrive while `work` runs and until `count` of them have. */
async function heard(count: number, work: () => Promise<unknown>): Promise<string[]> {
  const payloads: string[] = []
  const listener = postgres(database.url, { max: 1, onnotice: () => {} })
  try {
    await listener.listen('spillway_rows', (payload) => payloads.push(payload))
    await work()
    await expect.poll(() => payloads.length).toBeGreaterThanOrEqual(count)
    // What would come besides came before this: notifications arrive in the order of the commits.
    await sql`SELECT pg_notify('spillway_rows', 'end')`
    await expect.poll(() => payloads.at(-1)).toBe('end')
    return payloads.slice(0, -1)
  } finally {
    await listener.end()
  }
}

async function table(columns = 'id bigserial PRIMARY KEY, at timestamptz DEFAULT now()') {
  const logType = `log_${randomBytes(4).toString('hex')}`
  const relation = `public."${logType} Table"`
  await sql.unsafe(`CREATE TABLE ${relation} (${columns})`)
  await register(logType, relation)
  return { logType, relation, insert: () => sql.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`) }
}

async function register(logType: string, relation: string): Promise<void> {
  await sql`
    INSERT INTO spillway.sources (log_type, relation, timestamp_column) VALUES (${logType}, ${relation}, 'at')`
}

async function roleWith(grants: string): Promise<{ role: string; url: string }> {
  const role = `role_${randomBytes(4).toString('hex')}`
  await sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'; ${grants.replaceAll('$role', role)}`)
  whenDone(async () => {
    await sql.unsafe(`REASSIGN OWNED BY ${role} TO postgres; DROP OWNED BY ${role}; DROP ROLE ${role}`)
  })
  const url = new URL(database.url)
  url.username = role
  url.password = 'secret'
  return { role, url: url.href }
}

const functionsOf = async (logType: string): Promise<number> => {
  const [row] = await sql<{ count: number }[]>`
    SELECT count(*)::int FROM pg_proc WHERE proname = ${`spillway_notify_${logType}`}`
  return row?.count ?? 0
}

describe('sources notify', () => {
  test('has the table tell of its rows, says what it did, and takes it back with --remove', async () => {
    const { logType, relation, insert } = await table()
    const ran = await notify(logType)
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toContain(`${relation} tells of new rows of ${logType} from now on`)
    expect(ran.stdout).toContain(`CREATE TRIGGER "spillway_notify_${logType}" AFTER INSERT ON ${relation}`)
    expect(await heard(1, insert)).toEqual([logType])
    expect((await run('list')).stdout).toMatch(new RegExp(`${logType} .* ok +on\n`))
    const removed = await notify(logType, '--remove')
    expect(removed).toMatchObject({ code: 0, stderr: '' })
    expect(removed.stdout).toContain('found by polling')
    expect(await heard(0, insert)).toEqual([])
    expect((await run('list')).stdout).toMatch(new RegExp(`${logType} .* ok +off\n`))
    expect(await functionsOf(logType)).toBe(0)
  })

  test('can be repeated, and so can --remove', async () => {
    const { logType, insert } = await table()
    expect(JSON.parse((await notify(logType, '--json')).stdout)).toMatchObject({ effect: 'installed' })
    const again = JSON.parse((await notify(logType, '--json')).stdout)
    expect(again).toMatchObject({ log_type: logType, effect: 'unchanged', tables: [expect.any(String)] })
    expect(await heard(1, insert)).toEqual([logType])
    expect(JSON.parse((await notify(logType, '--remove', '--json')).stdout)).toMatchObject({
      effect: 'removed',
      sql: [expect.stringContaining('DROP TRIGGER'), expect.stringContaining('DROP FUNCTION')],
    })
    expect(JSON.parse((await notify(logType, '--remove', '--json')).stdout)).toMatchObject({
      effect: 'unchanged',
      sql: [],
    })
  })

  test('mends a trigger that was disabled', async () => {
    const { logType, relation, insert } = await table()
    await notify(logType)
    await sql.unsafe(`ALTER TABLE ${relation} DISABLE TRIGGER USER`)
    expect((await run('list')).stdout).toMatch(new RegExp(`${logType} .* ok +off\n`))
    expect(JSON.parse((await notify(logType, '--json')).stdout)).toMatchObject({ effect: 'installed' })
    expect(await heard(1, insert)).toEqual([logType])
  })

  test('tells once for a statement and once for a transaction, also for COPY and INSERT … SELECT', async () => {
    const { logType, relation } = await table()
    await notify(logType)
    const payloads = await heard(3, async () => {
      await sql.unsafe(`INSERT INTO ${relation} (at) SELECT now() FROM generate_series(1, 1000)`)
      await sql.begin(async (transaction) => {
        for (let row = 0; row < 5; row += 1)
          await transaction.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`)
      })
      const copy = await sql.unsafe(`COPY ${relation} (at) FROM STDIN`).writable()
      copy.end('2026-01-01\n2026-01-02\n')
    })
    expect(payloads).toEqual([logType, logType, logType])
  })

  test('tells nothing of what is rolled back', async () => {
    const { logType, relation } = await table()
    await notify(logType)
    const payloads = await heard(0, () =>
      sql
        .begin(async (transaction) => {
          await transaction.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`)
          throw new Error('rolled back')
        })
        .catch(() => {}),
    )
    expect(payloads).toEqual([])
  })

  test('takes the longest log type, and one that needs quotes', async () => {
    for (const logType of [`l${'x'.repeat(62)}`, 'log-in']) {
      const relation = `public."${logType}"`
      await sql.unsafe(`CREATE TABLE ${relation} (id bigserial PRIMARY KEY, at timestamptz)`)
      await register(logType, relation)
      expect(await notify(logType)).toMatchObject({ code: 0, stderr: '' })
      expect(await heard(1, () => sql.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`))).toEqual([logType])
      expect(await notify(logType, '--remove')).toMatchObject({ code: 0, stderr: '' })
    }
  })

  test('says which log types there are not', async () => {
    expect(await notify('nothing')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('no source with the log type nothing'),
    })
  })

  test('takes the trigger from a table that the source has left, or that is no source any more', async () => {
    const { logType, relation } = await table()
    await notify(logType)
    await sql`DELETE FROM spillway.sources WHERE log_type = ${logType}`
    const removed = JSON.parse((await notify(logType, '--remove', '--json')).stdout)
    expect(removed.sql[0]).toContain(relation)
    expect(await sql`SELECT FROM pg_trigger WHERE tgname = ${`spillway_notify_${logType}`}`).toHaveLength(0)
  })
})

describe('partitions', () => {
  test('tell of rows however they are written', async () => {
    const logType = 'parted'
    await sql`CREATE TABLE parted (id bigserial, at timestamptz) PARTITION BY RANGE (at)`
    await sql`CREATE TABLE parted_25 PARTITION OF parted FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')`
    await sql`CREATE TABLE parted_26 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
              PARTITION BY RANGE (at)`
    await sql`CREATE TABLE parted_26_a PARTITION OF parted_26 FOR VALUES FROM ('2026-01-01') TO ('2026-07-01')`
    await register(logType, 'public.parted')
    const { tables } = JSON.parse((await notify(logType, '--json')).stdout)
    expect(tables).toEqual(['public.parted', 'public.parted_25', 'public.parted_26', 'public.parted_26_a'])
    for (const relation of tables) {
      const at = relation === 'public.parted_25' ? '2025-05-05' : '2026-05-05'
      const insert = () => sql.unsafe(`INSERT INTO ${relation} (at) VALUES ('${at}')`)
      // Once: only the table that the statement names is asked.
      expect(await heard(1, insert)).toEqual([logType])
    }
    await sql`CREATE TABLE parted_27 PARTITION OF parted FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')`
    const again = JSON.parse((await notify(logType, '--json')).stdout)
    expect(again).toMatchObject({ effect: 'installed' })
    expect(again.sql.filter((each: string) => each.startsWith('CREATE TRIGGER'))).toHaveLength(1)
    await sql`ALTER TABLE parted DETACH PARTITION parted_25`
    await notify(logType, '--remove')
    expect(await sql`SELECT FROM pg_trigger WHERE tgname = 'spillway_notify_parted'`).toHaveLength(0)
  })
})

describe('a role that does not own the table', () => {
  test('is refused with the SQL for the owner, which works', async () => {
    const { logType, relation, insert } = await table()
    const { role, url } = await roleWith('')
    await sql.unsafe(
      `GRANT USAGE ON SCHEMA public TO ${role}; GRANT SELECT, TRIGGER ON ${relation} TO ${role}`,
    )
    const asReader = { ...env, SPILLWAY_SOURCE_DATABASE_URL: url }
    const ran = await spillway(['sources', 'notify', logType], { env: asReader })
    expect(ran.code).toBe(1)
    expect(ran.stderr).toContain(`The role ${role} does not own ${relation}; postgres does.`)
    expect(await functionsOf(logType)).toBe(0)
    await sql.unsafe(ran.stdout)
    expect(await heard(1, insert)).toEqual([logType])
    const removal = await spillway(['sources', 'notify', logType, '--remove', '--json'], { env: asReader })
    expect(removal.code).toBe(1)
    const { effect, sql: plan } = JSON.parse(removal.stdout)
    expect(effect).toBe('refused')
    for (const statement of plan) await sql.unsafe(statement)
    expect(await heard(0, insert)).toEqual([])
  })

  test('is told where only the schema is closed to it', async () => {
    const { logType, relation } = await table()
    const { role, url } = await roleWith('')
    // Open to all before PostgreSQL 15.
    await sql`REVOKE CREATE ON SCHEMA public FROM PUBLIC`
    await sql.unsafe(`GRANT USAGE ON SCHEMA public TO ${role}; ALTER TABLE ${relation} OWNER TO ${role}`)
    const asOwner = { ...env, SPILLWAY_SOURCE_DATABASE_URL: url }
    const ran = await spillway(['sources', 'notify', logType], { env: asOwner })
    expect(ran.code).toBe(1)
    expect(ran.stderr).toContain(`may not create functions in the schema public`)
    await sql.unsafe(`GRANT CREATE ON SCHEMA public TO ${role}`)
    expect(await spillway(['sources', 'notify', logType], { env: asOwner })).toMatchObject({ code: 0 })
  })
})

test('a table that is in use is left alone after two seconds, and its writers go on', async () => {
  const { logType, relation, insert } = await table()
  const writer = postgres(database.url, { max: 1, onnotice: () => {} })
  whenDone(() => writer.end())
  await writer`begin`
  await writer.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`)
  const ran = await notify(logType)
  expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining('in use for too long') })
  await insert()
  await writer`commit`
  expect(await notify(logType)).toMatchObject({ code: 0 })
})

describe('the trigger never fails an INSERT', () => {
  test('of a role that may insert and nothing else', async () => {
    const { logType, relation } = await table()
    await notify(logType)
    const { role, url } = await roleWith('')
    await sql.unsafe(`
      GRANT USAGE ON SCHEMA public TO ${role}; GRANT INSERT ON ${relation} TO ${role};
      GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ${role};
      REVOKE ALL ON FUNCTION public."spillway_notify_${logType}"() FROM PUBLIC`)
    const writer = postgres(url, { max: 1, onnotice: () => {} })
    whenDone(() => writer.end())
    expect(await heard(1, () => writer.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`))).toEqual([logType])
  })

  test('where pg_notify is closed to the role', async () => {
    const { logType, relation } = await table()
    await notify(logType)
    const { role, url } = await roleWith('')
    await sql.unsafe(`
      GRANT USAGE ON SCHEMA public TO ${role}; GRANT INSERT ON ${relation} TO ${role};
      GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ${role};
      REVOKE EXECUTE ON FUNCTION pg_catalog.pg_notify(text, text) FROM PUBLIC`)
    const writer = postgres(url, { max: 1, onnotice: () => {} })
    whenDone(() => writer.end())
    const payloads = await heard(0, () => writer.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`))
    expect(payloads).toEqual([])
    await sql`GRANT EXECUTE ON FUNCTION pg_catalog.pg_notify(text, text) TO PUBLIC`
    expect(await sql.unsafe(`SELECT FROM ${relation}`)).toHaveLength(1)
  })

  test('whatever functions the session’s search path puts in front', async () => {
    const { logType, relation } = await table()
    await notify(logType)
    await sql`CREATE SCHEMA trap`
    await sql`CREATE FUNCTION trap.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END'`
    const insert = () =>
      sql.begin(async (transaction) => {
        await transaction`SET LOCAL search_path = trap, pg_catalog, public`
        await transaction.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`)
      })
    expect(await heard(1, insert)).toEqual([logType])
  })

  test('nor a PREPARE TRANSACTION where it is switched off for the role or the transaction', async () => {
    const { logType, relation } = await table()
    expect((await notify(logType)).stdout).toContain('spillway.notify = off')
    const writer = postgres(database.url, { max: 1, onnotice: () => {} })
    whenDone(() => writer.end())
    const gid = randomBytes(4).toString('hex')
    const payloads = await heard(0, async () => {
      await writer`begin`
      await writer`SET LOCAL spillway.notify = off`
      await writer.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`)
      await writer.unsafe(`PREPARE TRANSACTION '${gid}'`)
      await writer.unsafe(`COMMIT PREPARED '${gid}'`)
    })
    expect(payloads).toEqual([])
  })
})
