/** A server of a test's own, to stop and start under the code that is being tested. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { whenSettled } from '../../src/db/embedded/postmaster.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/db/embedded/server.ts'
import { migrate } from '../../src/db/migrate.ts'
import { testBinaries } from './binaries.ts'
import { removeTestDirectory, testRoot } from './global-setup.ts'
import { whenDone } from './postgres.ts'

export interface TestCluster {
  /** URL of a migrated database; it stays the same over restarts. */
  readonly url: string
  /** Where its data and its log are. */
  readonly home: string
  /** Makes another migrated database; returns its URL. */
  createDatabase(name: string): Promise<string>
  /** `immediate` is what a crash looks like: sessions are cut, the next start recovers. */
  stop(mode: 'fast' | 'immediate'): Promise<void>
  /** Starts it again, on the same port. */
  start(): Promise<void>
  /** Waits until it answers, and starts it again if it has ended by itself. */
  awaken(): Promise<void>
}

export interface ClusterOptions {
  /** With the settings of a real one. */
  readonly durable?: boolean
  /** Default: one of its own, below the folder of all tests. */
  readonly directory?: string
}

/** Stopped and removed at the end of the test or file. */
export async function startCluster({
  durable = false,
  directory = join(testRoot, `cluster-${process.pid}-${randomBytes(4).toString('hex')}`),
}: ClusterOptions = {}): Promise<TestCluster> {
  const binaries = await testBinaries()
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
  const start = async () => {
    server = await startEmbedded(options)
    if (server.url('spillway') !== url) throw new Error('The port was taken while the server was down.')
  }
  return {
    url,
    home: server.home,
    createDatabase,
    async stop(mode) {
      await server.stop(mode)
    },
    start,
    async awaken() {
      const running = await whenSettled(server.home)
      if (running) return
      await server.stop('immediate')
      await start()
    },
  }
}
