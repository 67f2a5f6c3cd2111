/** The database that the environment names, or the embedded one where it names none. */
import type { Log } from '../telemetry/log.ts'

export interface Database {
  readonly url: string
  /** Stops the embedded server if nobody else uses it; nothing otherwise. */
  close(): Promise<void>
}

const embeddedDatabase = 'spillway'

/** Throws `ConfigError` when there is neither a `DATABASE_URL` nor the package with the embedded server. */
export async function openDatabase(url: string | undefined, log?: Log): Promise<Database> {
  if (url !== undefined) return { url, close: async () => {} }
  const began = performance.now()
  const { startEmbedded } = await import('./embedded/server.ts')
  const server = await startEmbedded()
  await server.createDatabase(embeddedDatabase)
  log?.emit('database.embedded_started', {
    home: server.home,
    port: server.port,
    reused: server.reused,
    duration_ms: Math.round(performance.now() - began),
  })
  return {
    url: server.url(embeddedDatabase),
    close: async () => {
      await server.stop()
    },
  }
}
