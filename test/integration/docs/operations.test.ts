/**
 * The SQL and the commands that stand in the guide for operators, run as they stand there: a column that is renamed
 * fails here, and not in the night in which somebody needs the query.
 */
import { expect, test } from 'vitest'
import { connect, createTestDatabase } from '../../support/postgres.ts'
import { Page } from '../../support/recipes/page.ts'

/** Theirs are the client programs of the server's own version; tried by hand. */
const byHand = /\b(pg_dump|pg_restore)\b/

const pages = ['RUNBOOK.md', 'operations/deploying.md', 'operations/sizing.md', 'operations/recovery.md']

test.each(pages)('%s: what stands there runs', async (path) => {
  const { url, sql } = await createTestDatabase()
  await sql`
    INSERT INTO spillway.destinations (id, org_id, name, type, config, log_types)
    VALUES (12, 'acme', 'acme siem', 'http', '{"url": "https://siem.example.com"}', '{request}')`
  await sql`
    INSERT INTO spillway.skipped_ranges (destination_id, log_type, from_position, to_position, event_count, reason)
    VALUES (12, 'request', '0', '5', 5, 'backlog_expired')`
  const own = connect(url, 1)
  const page = new Page({ path, sql: own, env: { DATABASE_URL: url } })
  await expect(page.finish({ except: byHand })).resolves.toBeDefined()
})
