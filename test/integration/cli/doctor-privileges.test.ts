import { describe, expect, test } from 'vitest'
import { createTestDatabase } from '../../support/postgres.ts'
import { admit, createRole, doctor, healthyId, patient } from './doctoring.ts'

describe('privileges', () => {
  const separate = (state: string, source: string) => ({
    DATABASE_URL: state,
    SPILLWAY_SOURCE_DATABASE_URL: source,
  })
  const usage =
    'GRANT USAGE ON SCHEMA public TO ROLE; GRANT USAGE ON SCHEMA spillway TO ROLE; GRANT SELECT ON ALL TABLES IN SCHEMA spillway TO ROLE;'

  test('a table that may not be read is named, and the others are looked at', async () => {
    const database = await patient(healthyId)
    const { role, url } = await createRole(database, usage)
    const seen = await doctor(separate(database.url, url))
    expect(seen.hazards).toContain('problem privileges.source')
    expect(seen.code).toBe(1)
    const { remedy } = seen.find('privileges.source')
    expect(remedy).toBe(`GRANT USAGE ON SCHEMA public TO ${role}; GRANT SELECT ON public.audit TO ${role};`)
    await database.sql.unsafe(remedy)
    expect((await doctor(separate(database.url, url))).hazards).not.toContain('problem privileges.source')
    const read = seen.findings.filter(({ code, severity }) => code === 'index' && severity === 'ok')
    expect(read.map(({ subject }) => subject.name)).toEqual(['access', 'action', 'connection', 'request'])
  })

  test('a sequence that may not be read, and what to grant', async () => {
    const database = await patient(healthyId)
    const { role, url } = await createRole(database, `${usage} GRANT SELECT ON audit TO ROLE;`)
    const before = await doctor(separate(database.url, url))
    expect(before.code).toBe(0)
    expect(new Set(before.hazards)).toEqual(new Set(['warning sequence.unreadable']))
    const ours = before.findings.filter(({ code }) => code === 'sequence.unreadable')
    for (const each of ours) {
      if (each.severity !== 'ok') await database.sql.unsafe(each.remedy)
      expect(each).toMatchObject({ remedy: expect.stringContaining(`TO ${role}`) })
    }
    expect((await doctor(separate(database.url, url))).hazards).toEqual([])
  })

  test('a policy that would hide rows', async () => {
    const database = await patient(`${healthyId}; ALTER TABLE audit ENABLE ROW LEVEL SECURITY`)
    const { role, url } = await createRole(database, `${usage} GRANT SELECT ON audit TO ROLE;`)
    const seen = await doctor(separate(database.url, url))
    expect(seen.find('privileges.row_security').remedy).toContain(`ALTER ROLE ${role} BYPASSRLS;`)
    expect(seen.code).toBe(1)
  })

  test("Spillway's own tables that the role may not write", async () => {
    const database = await patient(healthyId)
    const { role, url } = await createRole(database, `${usage} GRANT SELECT ON audit TO ROLE;`)
    const seen = await doctor({ DATABASE_URL: url })
    expect(seen.code).toBe(1)
    expect(seen.find('privileges.state').remedy).toContain(
      `GRANT INSERT, UPDATE ON spillway.cursors TO ${role};`,
    )
  })

  test("a table that the triggers' owner may not read", async () => {
    const database = await patient(healthyId, { forwarded: false })
    const { role } = await createRole(database, 'SELECT 1')
    await database.sql.unsafe(`
      GRANT USAGE, CREATE ON SCHEMA spillway TO ${role};
      ALTER FUNCTION spillway.seed_cursor(bigint, text) OWNER TO ${role}`)
    const seen = await doctor({ DATABASE_URL: database.url })
    expect(seen.hazards).toContain('warning privileges.triggers')
    const ours = seen.findings.find(
      ({ code, subject }) => code === 'privileges.triggers' && subject.name === 'test',
    )
    expect(ours).toMatchObject({
      remedy: `GRANT USAGE ON SCHEMA public TO ${role}; GRANT SELECT ON public.audit TO ${role};`,
    })
  })

  test('a check that cannot be made is a finding, and the others are made', async () => {
    const database = await patient(healthyId)
    await database.sql.unsafe(`
      CREATE SCHEMA fake;
      CREATE FUNCTION fake.pg_sequence_last_value(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT 1/0'`)
    const seen = await doctor({ DATABASE_URL: `${database.url}?search_path=fake,pg_catalog,public` })
    expect(new Set(seen.hazards)).toEqual(new Set(['warning check.failed']))
    expect(seen.find('check.failed').message).toContain('division by zero')
    expect(seen.findings.some(({ code }) => code === 'index')).toBe(true)
  })
})

describe('a source database of its own', () => {
  test("is fine without Spillway's tables, as long as nobody wants their rows", async () => {
    const { url, sql } = await createTestDatabase()
    const source = await createTestDatabase({ empty: true })
    await source.sql.unsafe(healthyId)
    await admit(sql, '')
    const env = { DATABASE_URL: url, SPILLWAY_SOURCE_DATABASE_URL: source.url }
    expect(await doctor(env)).toMatchObject({ hazards: [], code: 0 })
    await sql`UPDATE spillway.destinations SET log_types = '{test,request}'`
    const seen = await doctor(env)
    expect(seen.hazards).toEqual(['problem source.missing'])
    expect(seen.find('source.missing').subject.name).toBe('request')
  })
})
