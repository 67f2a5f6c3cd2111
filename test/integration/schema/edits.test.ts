import { describe, expect, test } from 'vitest'
import { createTestDatabase } from '../../support/postgres.ts'
import { cursorOf, makeSource, ownSource, session, stateOf, storeHorizon } from './rows.ts'

const database = await createTestDatabase()
const { sql } = database

async function failingDestination() {
  const source = await makeSource(database)
  const id = await source.destination()
  await sql`
    UPDATE spillway.delivery_state SET status = 'backing_off', consecutive_failures = 7,
      first_failed_at = '2026-01-01T00:00:00Z', next_attempt_at = '2027-01-01T00:00:00Z',
      last_error = 'retry: no', last_error_at = '2026-01-02T00:00:00Z'
    WHERE destination_id = ${id}`
  return { id, source }
}

describe('an edit of a destination', () => {
  test('ends its back-off at once, and not the time since which it fails', async () => {
    const { id } = await failingDestination()
    await sql`UPDATE spillway.destinations SET name = 'mended' WHERE id = ${id}`
    expect(await stateOf(sql, id)).toMatchObject({
      status: 'active',
      consecutive_failures: 0,
      next_attempt_at: null,
      first_failed_at: new Date('2026-01-01T00:00:00Z'),
      last_error: 'retry: no',
      last_error_at: new Date('2026-01-02T00:00:00Z'),
    })
  })

  test('that changes nothing is none', async () => {
    const { id } = await failingDestination()
    const [before] =
      await sql`SELECT version, changed_xid::text, updated_at FROM spillway.destinations WHERE id = ${id}`
    await sql`UPDATE spillway.destinations SET name = name WHERE id = ${id}`
    expect(await stateOf(sql, id)).toMatchObject({ status: 'backing_off', consecutive_failures: 7 })
    const [after] =
      await sql`SELECT version, changed_xid::text, updated_at FROM spillway.destinations WHERE id = ${id}`
    expect(after).toEqual(before)
  })

  test('gives it a new version and the transaction that the daemon looks for', async () => {
    const { id } = await failingDestination()
    const own = session(database)
    await own`begin`
    await own`UPDATE spillway.destinations SET name = 'a', version = 900 WHERE id = ${id}`
    const [row] = await own`
      SELECT version, changed_xid = pg_current_xact_id() AS marked FROM spillway.destinations WHERE id = ${id}`
    await own`commit`
    expect(row).toEqual({ version: '2', marked: true })
  })

  test('leaves its cursors where they are', async () => {
    const { id, source } = await failingDestination()
    await source.insert(3)
    await sql`UPDATE spillway.cursors SET position = '2', frozen = '{3}' WHERE destination_id = ${id}`
    await sql`UPDATE spillway.destinations SET config = '{"url": "https://other.example"}' WHERE id = ${id}`
    expect(await cursorOf(sql, id, source.logType)).toMatchObject({ position: '2', frozen: ['3'] })
  })
})

describe('disabling', () => {
  test('says since when, once, and enabling leaves its length with the cursors for the daemon to judge', async () => {
    const { id } = await failingDestination()
    const set = (enabled: boolean) =>
      sql`UPDATE spillway.destinations SET enabled = ${enabled} WHERE id = ${id}`
    await set(false)
    const disabled = await stateOf(sql, id)
    expect(disabled).toMatchObject({ status: 'disabled', next_attempt_at: null })
    expect(disabled?.disabled_at).toBeInstanceOf(Date)
    await sql`UPDATE spillway.destinations SET name = 'still disabled' WHERE id = ${id}`
    expect(await stateOf(sql, id)).toMatchObject({ status: 'disabled', disabled_at: disabled?.disabled_at })
    await set(true)
    expect(await stateOf(sql, id)).toMatchObject({ status: 'active', disabled_at: null })
    const [cursor] =
      await sql`SELECT disabled_for_ms::int AS ms FROM spillway.cursors WHERE destination_id = ${id}`
    expect(cursor?.ms).toBeGreaterThanOrEqual(0)
    expect(cursor?.ms).toBeLessThan(60_000)
  })

  test('from the start on counts from the start', async () => {
    const source = await makeSource(database)
    const id = await source.destination({ enabled: false })
    expect(await stateOf(sql, id)).toMatchObject({ status: 'disabled', disabled_at: expect.any(Date) })
    expect(await cursorOf(sql, id, source.logType)).toBeDefined()
  })
})

test('deleting a destination deletes its state and cursors and keeps the record of what was not delivered', async () => {
  const { id, source } = await failingDestination()
  await sql`
    INSERT INTO spillway.skipped_ranges (destination_id, log_type, from_position, to_position, event_count, reason)
    VALUES (${id}, ${source.logType}, '0', '5', 5, 'backlog_expired')`
  await sql`DELETE FROM spillway.destinations WHERE id = ${id}`
  expect(await stateOf(sql, id)).toBeUndefined()
  expect(await cursorOf(sql, id, source.logType)).toBeUndefined()
  expect(await sql`SELECT FROM spillway.skipped_ranges WHERE destination_id = ${id}`).toHaveLength(1)
})

describe('a source that is pointed at another table', () => {
  /** A destination whose cursor stands at 2 of 5 rows, and another table with 100. */
  async function setUp(horizon?: string) {
    const [source, other] = [await makeSource(database), await makeSource(database)]
    const id = await source.destination()
    await source.insert(5)
    await other.insert(100)
    await sql`UPDATE spillway.cursors SET position = '2', frozen = '{4}' WHERE destination_id = ${id}`
    if (horizon !== undefined) await storeHorizon(sql, source.logType, horizon)
    const ledger = () =>
      sql`SELECT from_position, to_position, event_count, reason FROM spillway.skipped_ranges WHERE destination_id = ${id}`
    const repoint = () =>
      sql`UPDATE spillway.sources SET relation = ${other.relation} WHERE log_type = ${source.logType}`
    return { source, other, id, ledger, repoint }
  }

  test('starts its cursors at now on the new one, with nothing frozen and no old horizon', async () => {
    const { source, other, id, repoint } = await setUp('5')
    const [before] = await sql`SELECT version FROM spillway.destinations WHERE id = ${id}`
    await repoint()
    expect(await sql`SELECT FROM spillway.source_state WHERE log_type = ${source.logType}`).toHaveLength(0)
    expect(await cursorOf(sql, id, source.logType)).toMatchObject({ frozen: [] })
    const after = await other.insert(2)
    expect(await ownSource(database, source.logType, other.relation).receives(id)).toEqual(after)
    const [edited] = await sql`SELECT version FROM spillway.destinations WHERE id = ${id}`
    expect(Number(edited?.version)).toBeGreaterThan(Number(before?.version))
  })

  test.each([
    ['is up to date', '5'],
    ['is a little behind the rows', '3'],
    ['is behind the cursor', '1'],
    ['was never stored', undefined],
  ])('has what was still to deliver on record, where the stored horizon %s', async (_, horizon) => {
    const { ledger, repoint } = await setUp(horizon)
    await repoint()
    const [range, ...more] = await ledger()
    expect(more).toEqual([])
    expect(range).toMatchObject({ from_position: '2', reason: 'source_repointed' })
    expect(Number(range?.to_position)).toBeGreaterThanOrEqual(5)
  })

  test('has nothing on record where all was delivered', async () => {
    const { id, ledger, repoint } = await setUp('5')
    await sql`UPDATE spillway.cursors SET position = '5', frozen = '{}' WHERE destination_id = ${id}`
    await repoint()
    expect(await ledger()).toEqual([])
  })

  test('by deleting and registering it anew does not go on at the old table’s position', async () => {
    const { source, other, id, ledger } = await setUp('5')
    await sql`UPDATE spillway.cursors SET position = '900' WHERE destination_id = ${id}`
    await sql.begin(async (transaction) => {
      await transaction`DELETE FROM spillway.sources WHERE log_type = ${source.logType}`
      await transaction`
        INSERT INTO spillway.sources (log_type, relation, org_column, timestamp_column)
        VALUES (${source.logType}, ${other.relation}, 'org_id', 'at')`
    })
    const after = await other.insert(2)
    expect(await ownSource(database, source.logType, other.relation).receives(id)).toEqual(after)
    expect((await ledger()).length).toBeLessThanOrEqual(1)
  })

  test('keeps its cursors where only what an event carries has changed', async () => {
    const { source, id } = await setUp('5')
    await sql`UPDATE spillway.sources SET exclude_columns = '{at}', org_column = NULL WHERE log_type = ${source.logType}`
    expect(await cursorOf(sql, id, source.logType)).toMatchObject({ position: '2', frozen: ['4'] })
  })

  test.each([
    ['an index', 'spillway.destinations_pkey', 'id'],
    ['a table by a text column', 'spillway.sources', 'log_type'],
    ['a view that fails', 'public.failing', 'id'],
  ])('by mistake, at %s, can be mended and deleted', async (_, relation, idColumn) => {
    const { source, other } = await setUp('5')
    await sql`CREATE OR REPLACE VIEW public.failing AS SELECT 1 / (n - n) AS id FROM generate_series(1, 2) n`
    const point = (to: string, column: string) =>
      sql`UPDATE spillway.sources SET relation = ${to}, id_column = ${column} WHERE log_type = ${source.logType}`
    await point(relation, idColumn)
    await point(other.relation, 'id')
    const id = await ownSource(database, source.logType, other.relation).destination()
    expect(await cursorOf(sql, id, source.logType)).toMatchObject({ position: '100' })
    await point(relation, idColumn)
    await sql`DELETE FROM spillway.sources WHERE log_type = ${source.logType}`
  })
})
