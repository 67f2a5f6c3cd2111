import { expect, test } from 'vitest'
import { HorizonStore } from '../../../src/sources/horizon-store.ts'
import { insertDestination } from '../../support/destinations.ts'
import { createTestDatabase } from '../../support/postgres.ts'

const cursors = 'SELECT log_type, position FROM spillway.cursors ORDER BY log_type'

test('a cursor from before the first run is given up when the audit tables turn out to be elsewhere', async () => {
  const { sql } = await createTestDatabase()
  await sql`INSERT INTO spillway.request_audit_log (org_id) VALUES ('acme'), ('acme')`
  await insertDestination(sql, { url: 'http://127.0.0.1:1' })
  expect(await sql.unsafe(cursors)).toEqual([{ log_type: 'request', position: '2' }])
  const store = new HorizonStore(sql)
  await store.saveSeparateSource(true)
  expect(await sql.unsafe(cursors)).toEqual([])
  expect(await sql`SELECT FROM spillway.skipped_ranges`).toEqual([])
  await store.saveSeparateSource(true)
  await store.saveSeparateSource(false)
  expect(await sql.unsafe(cursors)).toEqual([{ log_type: 'request', position: '2' }])
})

test('cursors that a daemon has used stay, whatever it is told of the audit tables', async () => {
  const { sql } = await createTestDatabase()
  await insertDestination(sql, { url: 'http://127.0.0.1:1' })
  await sql`INSERT INTO spillway.source_state (log_type, horizon) VALUES ('request', '7')`
  await sql`UPDATE spillway.cursors SET position = '7'`
  const store = new HorizonStore(sql)
  await store.saveSeparateSource(true)
  await store.saveSeparateSource(false)
  expect(await sql.unsafe(cursors)).toEqual([{ log_type: 'request', position: '7' }])
})
