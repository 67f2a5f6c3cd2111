/** What the daemon's role may do with Spillway's own tables, and what their triggers' owner may do. */
import { type Finding, fine, problem, warning } from '../finding.ts'
import type { FoundSource, Patient } from '../patient.ts'

/** What the daemon does with them. */
const needed = {
  settings: 'SELECT, UPDATE',
  sources: 'SELECT',
  source_state: 'SELECT, INSERT, UPDATE',
  destinations: 'SELECT, UPDATE',
  destination_deletions: 'SELECT, DELETE',
  delivery_state: 'SELECT, UPDATE',
  cursors: 'SELECT, INSERT, UPDATE',
  skipped_ranges: 'SELECT, INSERT, UPDATE',
  dead_letters: 'SELECT, INSERT, UPDATE',
  replays: 'SELECT, UPDATE',
  replay_ranges: 'SELECT, INSERT, UPDATE',
  leases: 'SELECT, INSERT, UPDATE',
  replicas: 'SELECT, INSERT, UPDATE, DELETE',
  lease_era: 'SELECT, INSERT, UPDATE',
}

export async function checkStatePrivileges({ state: { sql, subject } }: Patient): Promise<Finding[]> {
  const wanted = Object.entries(needed).flatMap(([table, list]) =>
    list.split(', ').map((privilege) => ({ table, privilege })),
  )
  const missing = await sql<{ table: string; privilege: string; role: string }[]>`
    SELECT w."table", w.privilege, quote_ident(current_user) AS role
    FROM jsonb_to_recordset(${JSON.stringify(wanted)}::text::jsonb) AS w("table" text, privilege text)
    WHERE NOT has_table_privilege('spillway.' || w."table", w.privilege)
    ORDER BY 1, 2`
  if (missing.length === 0) {
    return [fine('privileges', subject, "The role may use Spillway's own tables as the daemon does.")]
  }
  const byTable = Map.groupBy(missing, ({ table }) => table)
  const grants = [...byTable].map(
    ([table, rows]) =>
      `GRANT ${rows.map(({ privilege }) => privilege).join(', ')} ON spillway.${table} TO ${rows[0]?.role};`,
  )
  const list = missing.map(({ table, privilege }) => `${privilege} on spillway.${table}`).join(', ')
  return [
    problem(
      'privileges.state',
      subject,
      `The role ${missing[0]?.role} lacks ${list}; the daemon stops where it needs it.`,
      `${grants.join(' ')} Or let the role that migrated the schema run the daemon.`,
    ),
  ]
}

/** Cursors start in the transaction that makes a destination, if the triggers can look at the table. */
export async function checkTriggerPrivileges(
  { state, source: audit }: Patient,
  { source, subject }: FoundSource,
): Promise<Finding[]> {
  if (state !== audit) return []
  const [row] = await state.sql<{ owner: string; schema: string; may: boolean }[]>`
    SELECT quote_ident(pg_get_userbyid(p.proowner)) AS owner, c.relnamespace::regnamespace::text AS schema,
           has_table_privilege(p.proowner, c.oid, 'SELECT')
             AND has_schema_privilege(p.proowner, c.relnamespace, 'USAGE') AS may
    FROM pg_proc p, pg_class c
    WHERE p.oid = 'spillway.seed_cursor(bigint, text)'::regprocedure
      AND c.oid = to_regclass(${source.definition.relation})`
  if (!row || row.may) return []
  const { owner, schema } = row
  return [
    warning(
      'privileges.triggers',
      subject,
      `${owner}, who owns Spillway's triggers, may not read ${source.relation}: cursors on it are started later, by the daemon, with up to a minute of earlier events.`,
      `GRANT USAGE ON SCHEMA ${schema} TO ${owner}; GRANT SELECT ON ${source.definition.relation} TO ${owner};`,
    ),
  ]
}
