import { randomBytes } from 'node:crypto'
import { connect, createServer, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { connectSource, connectState, type SourceSql } from '../../../src/db/client.ts'
import { migrate } from '../../../src/db/migrate.ts'
import { connectPooledSource } from '../../../src/db/pooled-source.ts'
import { Route } from '../../../src/db/pooler.ts'
import { openSource } from '../../../src/db/source.ts'
import { ConfigError } from '../../../src/errors.ts'
import { pgbouncerIsMissing, startPgBouncer } from '../../support/pgbouncer.ts'
import { createTestDatabase, type TestDatabase, whenDone } from '../../support/postgres.ts'
import { define, freshTable, Lines, readerOf } from '../reading/watching.ts'

const pool = { applicationName: 'spillway test', max: 4 }
/** What operators are told to write who have met the refusal before. */
const ignored = [
  'extra_float_digits',
  'row_security',
  'IntervalStyle',
  'bytea_output',
  'default_transaction_read_only',
]

function ending<S extends { end(options?: { timeout: number }): Promise<void> }>(sql: S): S {
  whenDone(() => sql.end({ timeout: 1 }))
  return sql
}

/** Every type whose text depends on a setting, and a server that is set up otherwise than we need it. */
async function strangeDatabase(): Promise<TestDatabase> {
  const database = await createTestDatabase()
  const name = new URL(database.url).pathname.slice(1)
  await database.sql.unsafe(`
    ALTER DATABASE ${name} SET TimeZone = 'Asia/Kathmandu';
    ALTER DATABASE ${name} SET DateStyle = 'German, DMY';
    ALTER DATABASE ${name} SET IntervalStyle = 'sql_standard';
    ALTER DATABASE ${name} SET bytea_output = 'escape';
    ALTER DATABASE ${name} SET extra_float_digits = 0;
    CREATE TABLE public.strange (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, org_id text, at timestamptz NOT NULL,
      stamp timestamp, day date, span interval, raw bytea, real8 float8, real4 float4, amount numeric, doc jsonb,
      list timestamptz[], "a$1 'b'" text);
    INSERT INTO public.strange (org_id, at, stamp, day, span, raw, real8, real4, amount, doc, list, "a$1 'b'")
    VALUES ('acme', '2026-03-04 05:06:07.123456+00', '2026-03-04 05:06:07', '2026-03-04', '1 year 2 days 03:04:05',
            '\\x00ff5c27', 0.1::float8 + 0.2, 1e-7, 12345678901234567890.5, '{"n": 1e20}', ARRAY[timestamptz '2026-01-01 00:00Z'],
            E'it''s \\\\ $1');`)
  return database
}

describe.skipIf(pgbouncerIsMissing)('behind PgBouncer in transaction mode', () => {
  test('a pooler is found, said once, and not found where there is none', async () => {
    const { url } = await createTestDatabase()
    const bouncer = await startPgBouncer(url)
    const lines = new Lines()
    const route = new Route(bouncer.url, 'state', lines)
    expect(await Promise.all([route.pooled(), route.pooled()])).toEqual([true, true])
    route.forget()
    expect(await route.pooled()).toBe(true)
    expect(lines.all.map(({ code }) => code)).toEqual(['database.pooler_found'])
    expect(await new Route(url, 'state', lines).pooled()).toBe(false)
    expect(lines.all).toHaveLength(1)
  })

  test('looking is tried again after the pooler was away', async () => {
    const { url } = await createTestDatabase()
    const bouncer = await startPgBouncer(url)
    await bouncer.stop()
    const route = new Route(bouncer.url, 'state')
    await expect(route.pooled()).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await bouncer.start()
    expect(await route.pooled()).toBe(true)
  })

  test('a parameter in the URL that the pooler refuses is a wrong setting, not an outage', async () => {
    const { url } = await createTestDatabase()
    const bouncer = await startPgBouncer(url)
    const refused = await new Route(`${bouncer.url}?search_path=public`, 'source')
      .pooled()
      .catch((error) => error)
    expect(refused).toBeInstanceOf(ConfigError)
    expect(refused.fields).toMatchObject([{ field: 'SPILLWAY_SOURCE_DATABASE_URL' }])
  })

  test.each([
    ['refuses', []],
    ['drops', ignored],
  ] as const)(
    'values are what they are directly, where the pooler %s what it does not know',
    async (_, ignore) => {
      const { url } = await strangeDatabase()
      const bouncer = await startPgBouncer(url, { ignore })
      const definition = define({ relation: 'public.strange' })
      const read = async (sql: SourceSql) => {
        const reader = await readerOf(sql, definition)
        const range = { after: '0', upTo: '9' }
        const limit = { rows: 10, bytes: 1_000_000 }
        return [await reader.readPage({ orgId: 'acme' }, range, limit), await reader.newRows(range)]
      }
      const direct = await read(ending(connectSource(url, pool)))
      expect(direct[0]).toMatchObject({ rows: [{ position: '1' }] })
      expect(await read(ending(connectPooledSource(bouncer.url, pool)))).toEqual(direct)
      // And the way that the daemon takes.
      const opened = ending(openSource(bouncer.url, pool, new Route(bouncer.url, 'state')))
      expect(await read(opened)).toEqual(direct)
    },
  )

  test('rows that a policy hides are an error', async () => {
    const database = await createTestDatabase()
    const definition = await freshTable(database)
    const role = `reader_${randomBytes(4).toString('hex')}`
    await database.sql.unsafe(`
      CREATE ROLE ${role} LOGIN PASSWORD 'known';
      GRANT SELECT ON ${definition.relation} TO ${role};
      INSERT INTO ${definition.relation} (org_id) VALUES ('acme');
      ALTER TABLE ${definition.relation} ENABLE ROW LEVEL SECURITY;`)
    whenDone(async () => {
      await database.sql.unsafe(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
    })
    const url = new URL(database.url)
    url.username = role
    url.password = 'known'
    const bouncer = await startPgBouncer(url.href, { ignore: ignored })
    const sql = ending(openSource(bouncer.url, pool, new Route(bouncer.url, 'state')))
    const reader = await readerOf(sql, definition)
    const page = reader.readPage({ orgId: null }, { after: '0', upTo: '9' }, { rows: 10, bytes: 1_000_000 })
    await expect(page).rejects.toThrow(/row-level security/)
  })

  test('settings do not stay behind in a session that others get', async () => {
    const { url } = await createTestDatabase()
    const bouncer = await startPgBouncer(url, { poolSize: 1 })
    const source = ending(connectPooledSource(bouncer.url, pool))
    const others = ending(connectState(bouncer.url, { ...pool, pooled: true }))
    await source.query('SELECT $1::text', ['a'], { prepare: true })
    await others`SELECT ${'a'}::text`
    await expect(source.query('SELECT 1/0')).rejects.toMatchObject({ code: '22012' })
    await expect(source.query('CREATE TABLE public.written ()')).rejects.toMatchObject({ code: '25006' })
    expect(
      await others`SELECT current_setting('row_security') AS rows, current_setting('bytea_output') AS bytes`,
    ).toEqual([{ rows: 'on', bytes: 'hex' }])
    expect(await others`SELECT current_setting('IntervalStyle') AS style`).toEqual([{ style: 'postgres' }])
    expect(await others`SELECT FROM pg_prepared_statements WHERE NOT from_sql`).toEqual([])
    expect(await others`CREATE TABLE public.written ()`).toEqual([])
  })

  test('several daemons at once apply each migration once', async () => {
    const { url, sql } = await createTestDatabase({ empty: true })
    const bouncer = await startPgBouncer(url, { poolSize: 2 })
    const reports = await Promise.all([1, 2, 3, 4, 5].map(() => migrate(bouncer.url)))
    const applied = reports.flatMap((report) => report.applied)
    expect(new Set(applied).size).toBe(applied.length)
    expect(await sql`SELECT FROM spillway.migrations`).toHaveLength(applied.length)
    expect(
      await sql`SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = (
      SELECT oid FROM pg_database WHERE datname = current_database())`,
    ).toEqual([])
  })

  test.each([
    ['refuses', []],
    ['drops', ignored],
  ] as const)('a pooler that is put in front later and %s our settings is noticed', async (_, ignore) => {
    const database = await strangeDatabase()
    const bouncer = await startPgBouncer(database.url, { ignore })
    const way = await startSwitch(database.url)
    const sql = ending(openSource(way.url, pool, new Route(way.url, 'source')))
    const ask = () => sql.query<{ span: string }>("SELECT interval '1 year' AS span")
    expect(await ask()).toEqual([{ span: 'P1Y' }])
    way.lead(bouncer.url)
    const answers: unknown[] = []
    // As the daemon does after an outage: it tries again.
    while (answers.at(-1) !== 'P1Y' && answers.length < 20) {
      answers.push(
        await ask().then(
          ([row]) => row?.span,
          (error) => error.code,
        ),
      )
    }
    expect(answers.at(-1)).toBe('P1Y')
    // The first one only finds that the connection is gone.
    expect(answers.slice(0, -1)).not.toContain('1-0')
    expect(answers.slice(0, -1).some((answer) => answer === 'POOLER_FOUND' || answer === '08P01')).toBe(true)
  })
})

/** An address whose target changes: what stands behind a name in the network. */
async function startSwitch(target: string): Promise<{ url: string; lead(to: string): void }> {
  let port = Number(new URL(target).port)
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        client.destroy()
        upstream.destroy()
      })
    }
    client.pipe(upstream).pipe(client)
  })
  const close = () => {
    for (const socket of sockets) socket.destroy()
    sockets.clear()
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  whenDone(async () => {
    server.close()
    close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const url = new URL(target)
  url.port = String(address.port)
  return {
    url: url.href,
    lead(to) {
      port = Number(new URL(to).port)
      close()
    },
  }
}
