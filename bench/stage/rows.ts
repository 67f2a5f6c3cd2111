/**
 * Lifelike rows of the built-in request table, 500 bytes each as PostgreSQL stores them and twice that as
 * an event, where every column's name travels along. The same rows in every run.
 */
import type postgres from 'postgres'

export interface RowOptions {
  /** How many orgs the rows are of, in turns: `org-0`, `org-1`, … */
  readonly orgs: number
}

const rowsPerStatement = 50_000

export function orgName(number: number): string {
  return `org-${number}`
}

export async function insertRows(sql: postgres.Sql, count: number, { orgs }: RowOptions): Promise<void> {
  for (let from = 1; from <= count; from += rowsPerStatement) {
    await sql.unsafe(insert, [from, Math.min(from + rowsPerStatement - 1, count), orgs, 0])
  }
}

/** One row of an org, stamped now; returns its id when it is committed. */
export async function insertRow(sql: postgres.Sql, org = 0): Promise<number> {
  const parameters = [1, 1, 1, org]
  const [row] = await sql.unsafe<{ id: string }[]>(`${insert} RETURNING id`, parameters, { prepare: true })
  return Number(row?.id)
}

/** Rows whose text PostgreSQL can neither compress nor keep in the table itself. */
export async function insertLargeRows(sql: postgres.Sql, count: number, bytes: number): Promise<void> {
  await sql`ALTER TABLE spillway.request_audit_log ALTER COLUMN query SET STORAGE EXTERNAL`
  await sql`
    WITH noise AS MATERIALIZED (
      SELECT left(string_agg(md5(n::text), ''), ${bytes}::int) AS text
      FROM generate_series(0, ${bytes}::int / 32) n
    )
    INSERT INTO spillway.request_audit_log (org_id, action, query)
    SELECT 'org-0', true, noise.text FROM noise, generate_series(1, ${count}::int)`
}

/** $1 to $2: numbers of rows; $3 orgs in turns, from $4 on. */
const insert = `
  INSERT INTO spillway.request_audit_log (
    org_id, action, reason, actor_type, actor, actor_id, resource_id, ip, location, user_agent, headers,
    scheme, host, path, query, method, tls, status, duration_ms, metadata)
  SELECT
    'org-' || $4::int + n % $3::int, n % 14 <> 0, CASE WHEN n % 14 = 0 THEN 3 END,
    CASE n % 6 WHEN 0 THEN 'service' ELSE 'user' END,
    (ARRAY['alice', 'bob', 'carol', 'deploy-bot', 'dave', 'erin'])[1 + n % 6] || '@example.com',
    substr(md5(n::text), 1, 24), 'app-' || (n % 90), '203.0.113.' || (n % 250),
    (ARRAY['DE', 'FR', 'US', 'JP'])[1 + n % 4],
    (ARRAY['Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0', 'curl/8.9.1',
           'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1.15'])[1 + n % 3],
    jsonb_build_object('accept', 'application/json', 'accept-language', 'en-GB,en;q=0.9',
                       'x-request-id', md5('request' || n)),
    'https', (ARRAY['app', 'api', 'admin'])[1 + n % 3] || '.example.com', '/v2/invoices/' || (n % 9000) || '/lines',
    'page=' || (n % 40) || '&sort=created_at', (ARRAY['GET', 'GET', 'POST', 'DELETE'])[1 + n % 4], true,
    CASE WHEN n % 14 = 0 THEN 403 ELSE 200 END, 3 + n % 400,
    jsonb_build_object('region', 'eu-central', 'version', 41, 'session', substr(md5('session' || n), 1, 16))
  FROM generate_series($1::int, $2::int) n`
