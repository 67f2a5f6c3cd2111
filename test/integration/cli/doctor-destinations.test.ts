import type postgres from 'postgres'
import { expect, test } from 'vitest'
import { insertDestination } from '../../support/destinations.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { doctor } from './doctoring.ts'

interface Hazard {
  readonly name: string
  readonly make: (sql: postgres.Sql) => Promise<number>
  readonly finds: readonly string[]
  readonly says: RegExp
  readonly mends: RegExp
}

const url = 'https://example.com/audit'
const datadog = { type: 'datadog', config: { apiKey: 'a'.repeat(32) }, url }

/** A destination that has failed for some time, as the daemon writes it down. */
async function failing(
  sql: postgres.Sql,
  hours: number,
  status = 'backing_off',
  delivery = {},
): Promise<number> {
  const id = await insertDestination(sql, { url, delivery })
  await sql`
    UPDATE spillway.delivery_state SET
      status = ${status}, consecutive_failures = 7, first_failed_at = now() - ${hours}::float8 * interval '1 hour',
      last_error = 'The receiver answered 503.', last_error_at = now()
    WHERE destination_id = ${id}`
  return id
}

async function disabled(sql: postgres.Sql, hours: number): Promise<number> {
  const id = await insertDestination(sql, { url })
  await sql`UPDATE spillway.destinations SET enabled = false WHERE id = ${id}`
  await sql`
    UPDATE spillway.delivery_state SET disabled_at = now() - ${hours}::float8 * interval '1 hour'
    WHERE destination_id = ${id}`
  return id
}

/** A destination with an age limit that has not got a row of some hours ago. */
async function behind(sql: postgres.Sql, hours: number): Promise<number> {
  const id = await insertDestination(sql, { ...datadog, org: 'acme' })
  await sql`
    INSERT INTO spillway.request_audit_log (org_id, occurred_at)
    VALUES ('other', now() - interval '3 days'), ('acme', now() - ${hours}::float8 * interval '1 hour'), ('acme', now())`
  return id
}

const hazards: readonly Hazard[] = [
  {
    name: 'fields that cannot be used, all of them',
    make: (sql) =>
      insertDestination(sql, { url, config: { url: 'ftp://x', nonsense: 1 }, startFrom: 'noon' }),
    finds: ['problem destination.invalid'],
    says: /start_from.*config\.(url|nonsense).*config\.(url|nonsense)/,
    mends: /UPDATE spillway\.destinations/,
  },
  {
    name: 'a log type without a source',
    make: (sql) => insertDestination(sql, { url, logTypes: ['request', 'login'] }),
    finds: ['problem destination.no_source'],
    says: /registered for login,/,
    mends: /sources add login.*known: access, action, connection, request/,
  },
  {
    name: 'a disabled one',
    make: (sql) => disabled(sql, 2),
    finds: ['warning destination.disabled'],
    says: /disabled for 2 h/,
    mends: /destinations enable/,
  },
  {
    name: 'a disabled one whose backlog is soon too old',
    make: (sql) => disabled(sql, 20),
    finds: ['problem backlog.expiring'],
    says: /disabled for 20 h; its maximum is 1 d/,
    mends: /maxBacklogAgeMs/,
  },
  {
    name: 'one that fails',
    make: (sql) => failing(sql, 2),
    finds: ['warning destination.failing'],
    says: /failed for 2 h.*answered 503/,
    mends: /destinations test/,
  },
  {
    name: 'one whose backlog is soon too old',
    make: (sql) => failing(sql, 19),
    finds: ['problem backlog.expiring'],
    says: /failed for 19 h; after 1 d/,
    mends: /onBacklogExpiry/,
  },
  {
    name: 'one whose own maximum is near',
    make: (sql) => failing(sql, 1, 'backing_off', { maxBacklogAgeMs: 4_000_000 }),
    finds: ['problem backlog.expiring'],
    says: /after 1 h/,
    mends: /maxBacklogAgeMs/,
  },
  {
    name: 'one that will hold its backlog',
    make: (sql) => failing(sql, 19, 'backing_off', { onBacklogExpiry: 'hold' }),
    finds: ['warning destination.failing'],
    says: /failed for 19 h/,
    mends: /destinations test/,
  },
  {
    name: 'one that holds its backlog',
    make: (sql) => failing(sql, 30, 'backing_off', { onBacklogExpiry: 'hold' }),
    finds: ['problem backlog.held'],
    says: /longer than its maximum of 1 d/,
    mends: /keep the rows/,
  },
  {
    name: 'one whose credentials are refused',
    make: (sql) => failing(sql, 2, 'unauthorized'),
    finds: ['problem destination.unauthorized'],
    says: /refuses the credentials/,
    mends: /SET config/,
  },
  {
    name: 'events older than their provider takes',
    make: (sql) => behind(sql, 19),
    finds: ['problem timestamps.too_old'],
    says: /request that waits for it is 19 h old; datadog takes none older than 17 h/,
    mends: /batchSize/,
  },
  {
    name: 'events that are soon older than their provider takes',
    make: (sql) => behind(sql, 15),
    finds: ['warning timestamps.nearly_too_old'],
    says: /15 h old/,
    mends: /batchSize/,
  },
]

test.each(hazards)('doctor finds $name', async ({ make, finds, says, mends }) => {
  const database = await createTestDatabase()
  const id = await make(database.sql)
  const seen = await doctor({ DATABASE_URL: database.url })
  expect(seen.hazards).toEqual(finds)
  expect(seen.code).toBe(finds.some((each) => each.startsWith('problem')) ? 1 : 0)
  const finding = seen.findings.find(({ subject }) => subject.kind === 'destination')
  expect(finding).toMatchObject({
    subject: { name: String(id) },
    message: expect.stringMatching(says),
    remedy: expect.stringMatching(mends),
  })
})

test('doctor finds no fault with a destination whose old events are delivered or not its own', async () => {
  const database = await createTestDatabase()
  await database.sql`
    INSERT INTO spillway.request_audit_log (org_id, occurred_at) SELECT 'acme', now() - interval '3 days' FROM generate_series(1, 5)`
  await insertDestination(database.sql, { ...datadog, org: 'acme' })
  expect(await doctor({ DATABASE_URL: database.url })).toMatchObject({ hazards: [], code: 0 })
})

test('doctor finds a source that is disabled while destinations wait', async () => {
  const database = await createTestDatabase()
  await insertDestination(database.sql, { url })
  await database.sql`UPDATE spillway.sources SET enabled = false WHERE log_type = 'request'`
  const seen = await doctor({ DATABASE_URL: database.url })
  expect(seen.hazards).toEqual(['warning source.disabled'])
  expect(seen.find('source.disabled').subject.name).toBe('request')
})
