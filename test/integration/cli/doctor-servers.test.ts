import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import { describe, expect, test } from 'vitest'
import { migrate } from '../../../src/db/migrate.ts'
import { startCluster } from '../../support/cluster.ts'
import { pgbouncerIsMissing, startPgBouncer } from '../../support/pgbouncer.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { closedPort } from '../../support/receiver.ts'
import { admit, doctor, healthyId, patient } from './doctoring.ts'
import { spillway } from './spillway.ts'

/** A replica with nothing to follow: what a data directory with `standby.signal` comes up as. */
async function startStandby(): Promise<string> {
  const cluster = await startCluster()
  const sql = postgres(cluster.url, { max: 1, onnotice: () => {} })
  await admit(sql, healthyId)
  const [row] = await sql<{ directory: string }[]>`SELECT current_setting('data_directory') AS directory`
  await sql.end()
  await cluster.stop('fast')
  await writeFile(join(row?.directory ?? '', 'standby.signal'), '')
  await cluster.start()
  return cluster.url
}

describe('doctor finds', () => {
  test('a standby in the place of the primary', async () => {
    const standby = await startStandby()
    const alone = await doctor({ DATABASE_URL: standby })
    expect(alone.hazards).toEqual(['problem server.standby'])
    expect(alone.code).toBe(1)
    // The state's database is a primary, the audit tables' is not.
    const { url } = await patient(healthyId)
    const apart = await doctor({ DATABASE_URL: url, SPILLWAY_SOURCE_DATABASE_URL: standby })
    expect(apart.hazards).toEqual(['problem server.standby'])
    expect(apart.find('server.standby').subject.name).toBe('source database')
    const swapped = await doctor({ DATABASE_URL: standby, SPILLWAY_SOURCE_DATABASE_URL: url })
    expect(swapped.find('server.standby').subject.name).toBe('state database')
  })

  test.skipIf(pgbouncerIsMissing)('a pooler, and looks at everything through it', async () => {
    const { url } = await patient(healthyId)
    const pooler = await startPgBouncer(url)
    const seen = await doctor({ DATABASE_URL: pooler.url })
    expect(seen.hazards).toEqual(['warning server.pooler'])
    expect(seen.find('server.pooler').message).toContain('prepared statements')
    const apart = await doctor({ DATABASE_URL: url, SPILLWAY_SOURCE_DATABASE_URL: pooler.url })
    expect(apart.hazards).toEqual(['warning server.pooler'])
    expect(apart.find('server.pooler').subject.name).toBe('source database')
  })

  test('a source database that cannot be reached, and looks at the rest', async () => {
    const { url } = await patient(healthyId)
    const nowhere = new URL(url)
    nowhere.port = String(await closedPort())
    nowhere.password = 'hunter2-s3cret'
    const ran = await spillway(['doctor', '--json'], {
      env: { DATABASE_URL: url, SPILLWAY_SOURCE_DATABASE_URL: nowhere.href },
    })
    expect(ran.code).toBe(1)
    expect(ran.stdout).not.toContain('s3cret')
    const { findings } = JSON.parse(ran.stdout)
    expect(findings).toContainEqual(
      expect.objectContaining({
        code: 'server.unreachable',
        message: expect.stringContaining('ECONNREFUSED'),
      }),
    )
    expect(findings).toContainEqual(expect.objectContaining({ code: 'destinations', severity: 'ok' }))
  })

  test('a server that may forget what it has committed', async () => {
    const { url } = await createTestDatabase()
    const seen = await doctor({ DATABASE_URL: url })
    expect(seen.find('server.fsync')).toMatchObject({ severity: 'warning' })
    expect(seen.find('server.synchronous_commit').remedy).toMatch(/ALTER DATABASE test_\w+ SET/)
  })

  test('a database without an encoding', async () => {
    const { sql, url } = await createTestDatabase({ empty: true })
    const name = `ascii_${randomBytes(4).toString('hex')}`
    await sql.unsafe(`CREATE DATABASE ${name} ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0`)
    whenDone(async () => {
      await sql.unsafe(`DROP DATABASE ${name} WITH (FORCE)`)
    })
    const other = new URL(url)
    other.pathname = `/${name}`
    await migrate(other.href)
    const seen = await doctor({ DATABASE_URL: other.href })
    expect(seen.hazards).toEqual(['problem server.encoding'])
    const tables = await patient(healthyId)
    const apart = await doctor({ DATABASE_URL: other.href, SPILLWAY_SOURCE_DATABASE_URL: tables.url })
    expect(apart.hazards).toEqual(['warning server.encoding'])
  })

  test('a server that is too old', async () => {
    const { url } = await patient(healthyId)
    const old = await patient(healthyId)
    // What an old server says, for sessions that find this function first.
    await old.sql.unsafe(`
      CREATE SCHEMA fake;
      CREATE FUNCTION fake.current_setting(name text) RETURNS text LANGUAGE sql AS $$
        SELECT CASE name WHEN 'server_version' THEN '13.1' WHEN 'server_version_num' THEN '130001'
                         ELSE pg_catalog.current_setting(name) END $$`)
    const seen = await doctor({
      DATABASE_URL: url,
      SPILLWAY_SOURCE_DATABASE_URL: `${old.url}?search_path=fake,pg_catalog,public`,
    })
    expect(seen.hazards).toEqual(['problem server.version'])
    expect(seen.find('server.version')).toMatchObject({
      subject: { name: 'source database' },
      remedy: expect.stringContaining('Upgrade'),
    })
  })

  test('a clock that is off, and between two databases too', async () => {
    const { url } = await patient(healthyId)
    const late = await patient(healthyId)
    // What a server says whose clock is an hour ahead, for sessions that find this function first.
    await late.sql.unsafe(`
      CREATE SCHEMA fake;
      CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql
        AS $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$`)
    const lateUrl = `${late.url}?search_path=fake,pg_catalog,public`
    const seen = await doctor({ DATABASE_URL: lateUrl })
    expect(seen.hazards).toEqual(['warning clock.skew'])
    expect(seen.find('clock.skew').message).toMatch(/3(599|600|601)\.\d s ahead of that of this machine/)
    const apart = await doctor({ DATABASE_URL: url, SPILLWAY_SOURCE_DATABASE_URL: lateUrl })
    expect(apart.hazards).toEqual(['warning clock.skew', 'warning clock.skew'])
    expect(apart.findings.map(({ message }) => message).join()).toContain(
      'ahead of that of the state database',
    )
  })

  test('that no daemon runs', async () => {
    const { url } = await createTestDatabase()
    expect((await doctor({ DATABASE_URL: url })).find('daemon.absent').remedy).toBe('spillway run')
  })
})
