/** The database that the environment names, or the embedded one where it names none. */
import { writeFile } from 'node:fs/promises'
import type { Log } from '../telemetry/log.ts'

export interface Database {
  readonly url: string
  /** Stops the embedded server if nobody else uses it; nothing otherwise. */
  close(): Promise<void>
}

const embeddedDatabase = 'spillway'
/** For people: `psql "$(cat .spillway/database-url)"`. Holds the password of a database for development. */
const urlFile = '.spillway/database-url'

/** Throws `ConfigError` when there is neither a `DATABASE_URL` nor the package with the embedded server. */
export async function openDatabase(given: string | undefined, log?: Log): Promise<Database> {
  if (given !== undefined) return { url: given, close: async () => {} }
  const began = performance.now()
  const { startEmbedded } = await import('./embedded/server.ts')
  const server = await startEmbedded()
  await server.createDatabase(embeddedDatabase)
  const url = server.url(embeddedDatabase)
  await writeFile(urlFile, `${url}\n`, { mode: 0o600 })
  log?.emit('database.embedded_started', {
    home: server.home,
    port: server.port,
    reused: server.reused,
    duration_ms: Math.round(performance.now() - began),
  })
  return {
    url,
    close: async () => {
      await server.stop()
    },
  }
}
