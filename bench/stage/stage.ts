/**
 * What the benchmarks play on: an embedded PostgreSQL of their own with durable settings, a migrated
 * database with audit rows, and the processes that they start. Closing it ends and removes all of it.
 */
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { removeEmbedded, startEmbedded } from '../../src/db/embedded/server.ts'
import { migrate } from '../../src/db/migrate.ts'
import { type BenchDaemon, startDaemon } from './daemon.ts'
import { type Receiver, startReceiver } from './receiver.ts'
import { insertRows } from './rows.ts'

export interface Stage extends AsyncDisposable {
  readonly databaseUrl: string
  /** The harness's own connection. */
  readonly sql: postgres.Sql
  readonly postgresVersion: string
  /** One for all benchmarks, in a process of its own. */
  receiver(): Promise<Receiver>
  /** Resolves when it serves. */
  daemon(env?: Readonly<Record<string, string>>): Promise<BenchDaemon>
  /** Rows in the request table. */
  count(): Promise<number>
  /** Makes PostgreSQL finish what the last run left to do, so that it does not fall into the next one. */
  quiesce(): Promise<void>
}

export interface StageOptions {
  /** Audit rows to begin with. */
  readonly rows: number
  /** Where the daemons leave their CPU profiles, if anywhere. */
  readonly profiles?: string
}

/** `.spillway/` of the checkout is ignored by git. */
const directory = fileURLToPath(new URL('../../.spillway/bench', import.meta.url))
const database = 'bench'

/** Throws while another run uses the directory: the two would measure each other. */
export async function openStage(options: StageOptions): Promise<Stage> {
  if (!(await removeEmbedded(directory))) throw new Error('Another run of the benchmarks is under way.')
  await using opened = new AsyncDisposableStack()
  const server = await startEmbedded({ directory })
  opened.defer(async () => {
    await server.stop('immediate')
    await removeEmbedded(directory)
  })
  await server.createDatabase(database)
  const databaseUrl = server.url(database)
  await migrate(databaseUrl)
  const sql = postgres(databaseUrl, {
    max: 1,
    onnotice: () => {},
    connection: { application_name: 'bench' },
  })
  opened.defer(() => sql.end())
  await insertRows(sql, options.rows)
  await sql`VACUUM (FREEZE, ANALYZE) spillway.request_audit_log`
  const [version] = await sql<{ server_version: string }[]>`SHOW server_version`
  const processes = opened.use(new AsyncDisposableStack())
  let receiver: Promise<Receiver> | undefined
  const open = opened.move()
  return {
    databaseUrl,
    sql,
    postgresVersion: version?.server_version ?? 'unknown',
    receiver() {
      receiver ??= startReceiver().then((started) => processes.use(started))
      return receiver
    },
    daemon: async (env = {}) => processes.use(await startDaemon(databaseUrl, env, options.profiles)),
    async count() {
      const [row] = await sql<{ count: number }[]>`SELECT count(*)::int FROM spillway.request_audit_log`
      return row?.count ?? 0
    },
    async quiesce() {
      await sql`VACUUM spillway.cursors, spillway.delivery_state`
      await sql`CHECKPOINT`
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  }
}
