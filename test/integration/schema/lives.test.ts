import { beforeEach, expect, test } from 'vitest'
import { insertDestination } from '../../support/destinations.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { spillway } from '../cli/spillway.ts'

const database = await createTestDatabase()
const { sql } = database
await sql`CREATE TABLE public.login (id bigserial PRIMARY KEY, org_id text, at timestamptz)`
await sql`CREATE TABLE public.visit (LIKE public.login INCLUDING ALL)`
await sql`INSERT INTO spillway.sources (log_type, relation, org_column, timestamp_column) VALUES ('login', 'public.login', 'org_id', 'at')`
const id = await insertDestination(sql, { url: 'http://127.0.0.1:9', logTypes: ['login'] })

const isOfThisLife = async (table: 'skipped_ranges' | 'dead_letters') =>
  (
    await sql`SELECT life = (SELECT life FROM spillway.sources WHERE log_type = 'login') AS same FROM ${sql(`spillway.${table}`)}`
  ).map(({ same }) => same)

beforeEach(async () => {
  await sql`DELETE FROM spillway.skipped_ranges`
  await sql`DELETE FROM spillway.dead_letters`
  await sql`
    INSERT INTO spillway.skipped_ranges (destination_id, log_type, from_position, to_position, reason)
    VALUES (${id}, 'login', '0', '9', 'backlog_expired')`
  await sql`
    INSERT INTO spillway.dead_letters (destination_id, log_type, event_id, reason) VALUES (${id}, 'login', 'login:1', 'x')`
})

test('what is written down belongs to the life that its source is in', async () => {
  expect(await isOfThisLife('skipped_ranges')).toEqual([true])
  expect(await isOfThisLife('dead_letters')).toEqual([true])
})

test('an edit that leaves the positions what they are begins no new life', async () => {
  // The same table in another spelling, too.
  await sql`UPDATE spillway.sources SET relation = 'login', exclude_columns = '{org_id}', enabled = false WHERE log_type = 'login'`
  await sql`UPDATE spillway.sources SET exclude_columns = '{}', enabled = true WHERE log_type = 'login'`
  expect(await isOfThisLife('skipped_ranges')).toEqual([true])
  expect(await isOfThisLife('dead_letters')).toEqual([true])
})

test('another table does, and what it left behind is of no life that can be replayed', async () => {
  await sql`UPDATE spillway.cursors SET position = '-5' WHERE log_type = 'login'`
  await sql`UPDATE spillway.sources SET relation = 'public.visit' WHERE log_type = 'login'`
  expect(await sql`SELECT FROM spillway.skipped_ranges WHERE reason = 'source_repointed'`).toHaveLength(1)
  expect(await isOfThisLife('skipped_ranges')).not.toContain(true)
  expect(await isOfThisLife('dead_letters')).toEqual([false])
})

test('a rebase does', async () => {
  const ran = await spillway(['sources', 'rebase', 'login'], { env: { DATABASE_URL: database.url } })
  expect(ran).toMatchObject({ code: 0, stderr: '' })
  expect(await isOfThisLife('skipped_ranges')).not.toContain(true)
  expect(await isOfThisLife('dead_letters')).toEqual([false])
})
