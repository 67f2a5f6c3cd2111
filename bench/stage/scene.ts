/** A migrated database with audit rows, and the daemons that read it. */
import postgres from 'postgres'
import { migrate } from '../../src/db/migrate.ts'
import { type BenchDaemon, startDaemon } from './daemon.ts'
import { insertRows, type RowOptions } from './rows.ts'
import type { BenchServer } from './server.ts'

export interface Scene extends AsyncDisposable {
  readonly databaseUrl: string
  /** The harness's own connection. */
  readonly sql: postgres.Sql
  /** Resolves when it serves. */
  daemon(env?: Readonly<Record<string, string>>): Promise<BenchDaemon>
  /** Rows in the request table: all, or those of an org. */
  count(org?: string | null): Promise<number>
  /** Makes PostgreSQL finish what the last run left to do, so that it does not fall into the next one. */
  quiesce(): Promise<void>
}

export interface SceneOptions extends RowOptions {
  /** Audit rows to begin with. */
  readonly rows: number
  /** Where the daemons leave their CPU profiles, if anywhere. */
  readonly profiles?: string
}

export async function openScene(server: BenchServer, name: string, options: SceneOptions): Promise<Scene> {
  await using opened = new AsyncDisposableStack()
  await server.createDatabase(name)
  opened.defer(() => server.dropDatabase(name))
  const databaseUrl = server.url(name)
  await migrate(databaseUrl)
  const sql = postgres(databaseUrl, {
    max: 1,
    onnotice: () => {},
    connection: { application_name: 'bench' },
  })
  opened.defer(() => sql.end())
  await insertRows(sql, options.rows, options)
  await sql`VACUUM (FREEZE, ANALYZE) spillway.request_audit_log`
  const daemons = opened.use(new AsyncDisposableStack())
  const open = opened.move()
  return {
    databaseUrl,
    sql,
    daemon: async (env = {}) => daemons.use(await startDaemon(databaseUrl, env, options.profiles)),
    async count(org = null) {
      const [row] = await sql<{ count: number }[]>`
        SELECT count(*)::int FROM spillway.request_audit_log WHERE ${org}::text IS NULL OR org_id = ${org}`
      return row?.count ?? 0
    },
    async quiesce() {
      await sql`VACUUM (ANALYZE) spillway.destinations, spillway.cursors, spillway.delivery_state`
      await sql`CHECKPOINT`
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  }
}
