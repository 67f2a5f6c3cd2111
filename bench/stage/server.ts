/** An embedded PostgreSQL of the benchmarks' own, with durable settings, that counts its statements. */
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { findPostmaster } from '../../src/db/embedded/postmaster.ts'
import { type EmbeddedServer, removeEmbedded, startEmbedded } from '../../src/db/embedded/server.ts'
import { familyCpuSeconds } from './process-usage.ts'

export interface BenchServer extends AsyncDisposable {
  readonly version: string
  url(database: string): string
  createDatabase(name: string): Promise<void>
  dropDatabase(name: string): Promise<void>
  /** Processor time that all of its processes have used so far. */
  cpuSeconds(): Promise<number>
}

/** `.spillway/` of the checkout is ignored by git. */
const directory = fileURLToPath(new URL('../../.spillway/bench', import.meta.url))

/** Throws while another run uses the directory: the two would measure each other. */
export async function startServer(): Promise<BenchServer> {
  if (!(await removeEmbedded(directory))) throw new Error('Another run of the benchmarks is under way.')
  await using opened = new AsyncDisposableStack()
  const server = opened.adopt(await startCounting(), async (started) => {
    await started.stop('immediate')
    await removeEmbedded(directory)
  })
  const pid = (await findPostmaster(server.home))?.pid
  if (pid === undefined) throw new Error('the server is gone')
  const sql = postgres(server.url('postgres'), { max: 1, connection: { application_name: 'bench' } })
  opened.defer(() => sql.end())
  const [row] = await sql<{ server_version: string }[]>`SHOW server_version`
  const open = opened.move()
  return {
    version: row?.server_version ?? 'unknown',
    url: (database) => server.url(database),
    async createDatabase(name) {
      await server.createDatabase(name)
    },
    async dropDatabase(name) {
      await sql`DROP DATABASE ${sql(name)} WITH (FORCE)`
    },
    cpuSeconds: () => familyCpuSeconds(pid),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  }
}

/** The library that counts statements is loaded at a start only. */
async function startCounting(): Promise<EmbeddedServer> {
  const first = await startEmbedded({ directory })
  const sql = postgres(first.url('postgres'), { max: 1 })
  await sql`ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'`
  await sql.end()
  await first.stop()
  return startEmbedded({ directory })
}
