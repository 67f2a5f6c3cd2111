/**
 * The PostgreSQL that the tests run on: the project's own, or the one that `npm run test:matrix` has installed
 * in the folder it names. Only the servers of the test support look here; the product knows nothing of it.
 */
import { realpath } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { type Binaries, findBinaries } from '../../src/db/embedded/binaries.ts'

export const postgresFolderVariable = 'SPILLWAY_TEST_POSTGRES'

export function testBinaries(): Promise<Binaries> {
  const folder = process.env[postgresFolderVariable]
  return folder ? binariesIn(folder) : findBinaries()
}

/** Throws where the folder has none of its own: packages are looked for further up too, where the project's are. */
export async function binariesIn(folder: string): Promise<Binaries> {
  const binaries = await findBinaries({ from: join(folder, 'package.json') })
  const directory = await realpath(binaries.directory)
  if (directory.startsWith(`${await realpath(folder)}${sep}`)) return binaries
  throw new Error(`${folder} holds no PostgreSQL; ${directory} would be taken in its place`)
}
