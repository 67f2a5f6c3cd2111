/** A server of a test's own, to stop and start under the code that is being tested. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type EmbeddedServer, startEmbedded } from '../../src/db/embedded/server.ts'
import { migrate } from '../../src/db/migrate.ts'
import { testBinaries } from './binaries.ts'
import { removeTestDirectory, testRoot } from './global-setup.ts'
import { whenDone } from './postgres.ts'

export interface TestCluster {
  /** URL of a migrated database; it stays the same over restarts. */
  readonly url: string
  /** Makes another migrated database; returns its URL. */
  createDatabase(name: string): Promise<string>
  /** `immediate` is what a crash looks like: sessions are cut, the next start recovers. */
  stop(mode: 'fast' | 'immediate'): Promise<void>
  /** Starts it again, on the same port. */
  start(): Promise<void>
}

/** Stopped and removed at the end of the test or file. `durable`: with the settings of a real one. */
export async function startCluster({ durable = false } = {}): Promise<TestCluster> {
  const binaries = await testBinaries()
  const directory = join(testRoot, `cluster-${process.pid}-${randomBytes(4).toString('hex')}`)
  const options = { directory, durable, binaries }
  let server: EmbeddedServer = await startEmbedded(options)
  whenDone(async () => {
    await server.stop('immediate')
    await removeTestDirectory(directory)
  })
  const createDatabase = async (name: string) => {
    await server.createDatabase(name)
    await migrate(server.url(name))
    return server.url(name)
  }
  const url = await createDatabase('spillway')
  return {
    url,
    createDatabase,
    async stop(mode) {
      await server.stop(mode)
    },
    async start() {
      server = await startEmbedded(options)
      if (server.url('spillway') !== url) throw new Error('The port was taken while the server was down.')
    },
  }
}
