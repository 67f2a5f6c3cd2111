/**
 * Where a development server lives: `<directory>/postgres`, with
 *
 *   data/      PostgreSQL's data directory; appears complete or not at all
 *   users/, leaving/   see presence.ts
 *   port       the port of the last start
 *   log        what the server says
 *   project    in a shelter: what it belongs to
 *
 * Started by root, the server runs as another user. Where that user cannot reach the directory, the home is
 * made below `/var/lib/spillway` and `<directory>/postgres` is a symbolic link to it; the programs are then
 * copied there too, once per version. Not below `/var/tmp`, if it can be helped: files that nobody reads for
 * a month are removed there on many systems, one by one.
 */
import { randomBytes } from 'node:crypto'
import {
  chmod,
  chown,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Account, canReach, isRoot, postgresAccount } from './account.ts'
import type { Binaries } from './binaries.ts'
import { EmbeddedPostgresError, errnoOf } from './error.ts'

const SHELTERS = ['/var/lib/spillway', '/var/tmp/spillway']

export interface Home {
  /** Without symbolic links. */
  readonly path: string
  /** Undefined: the server runs as who we are. */
  readonly account: Account | undefined
}

export const dataOf = (home: Home): string => join(home.path, 'data')

/** Where the home of `directory` is, if there is one. */
export async function findHome(directory: string): Promise<string | undefined> {
  return realpath(join(directory, 'postgres')).catch(() => undefined)
}

/** Finds or makes the home of `directory`. */
export async function openHome(directory: string): Promise<Home> {
  const place = join(resolve(directory), 'postgres')
  await mkdir(resolve(directory), { recursive: true })
  const existing = await existingHome(place)
  if (existing) return existing
  if (!isRoot()) {
    await mkdir(place, { recursive: true, mode: 0o700 })
    return { path: await realpath(place), account: undefined }
  }
  const account = await postgresAccount()
  const parent = await realpath(resolve(directory))
  // Unlike a directory, a link cannot be made twice, so two starters settle here on one home.
  const near = (await canReach(account, parent)) && (await settle(place, account))
  if (!near) await point(place, await shelteredHome(place, account))
  const home = await existingHome(place)
  if (home) return home
  throw new EmbeddedPostgresError(`${place} vanished while it was made`, 'Start again.')
}

/** The programs where `account` can run them: in place, or a copy. */
export async function reachableBinaries(binaries: Binaries, account: Account | undefined): Promise<Binaries> {
  const source = await realpath(binaries.directory)
  if (!account || (await canReach(account, source))) return binaries
  const target = join(await shelter(), `binaries-${binaries.version}-${process.platform}-${process.arch}`)
  const copied = { ...binaries, directory: target }
  if (await exists(target)) return copied
  const draft = `${target}.${randomBytes(4).toString('hex')}`
  try {
    await cp(source, draft, { recursive: true, verbatimSymlinks: true })
    await chmod(draft, 0o755)
    await rename(draft, target)
  } catch (error) {
    // Somebody else has copied them at the same time.
    if (!(await exists(target))) throw error
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
  return copied
}

async function existingHome(place: string): Promise<Home | undefined> {
  let path: string
  try {
    path = await realpath(place)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw unusable(place, error)
    // A link to a home that was removed.
    await rm(place, { force: true })
    return undefined
  }
  const { uid, gid } = await stat(path)
  if (!isRoot()) {
    if (uid !== process.getuid?.()) throw unusable(place)
    return { path, account: undefined }
  }
  if (uid !== 0) return { path, account: { uid, gid } }
  // Made by a root that was killed before it could hand it over.
  const account = await postgresAccount()
  await chown(path, account.uid, account.gid)
  return { path, account }
}

async function settle(place: string, account: Account): Promise<boolean> {
  try {
    await mkdir(place, { recursive: true, mode: 0o700 })
    await chown(place, account.uid, account.gid)
    return true
  } catch {
    // Some mounts (shared folders, NFS) know no owners.
    await rm(place, { recursive: true, force: true })
    return false
  }
}

async function shelteredHome(place: string, account: Account): Promise<string> {
  const path = await mkdtemp(join(await shelter(), 'home-'))
  // For whoever tidies up there by hand: a project that has moved or gone is not ours to judge.
  await writeFile(join(path, 'project'), `${place}\n`)
  await chown(path, account.uid, account.gid)
  return path
}

async function point(place: string, target: string): Promise<void> {
  try {
    await symlink(target, place)
  } catch (error) {
    await rm(target, { recursive: true, force: true })
    if (errnoOf(error) !== 'EEXIST') throw error
  }
}

/** A directory that everybody can enter and only root can write. */
async function shelter(): Promise<string> {
  for (const path of SHELTERS) {
    try {
      await mkdir(path, { recursive: true })
      const found = await lstat(path)
      // Below /var/tmp anybody could have made it first.
      if (!found.isDirectory() || found.uid !== 0) continue
      await chmod(path, 0o755)
      return path
    } catch {
      // A read-only system directory: the next one.
    }
  }
  throw new EmbeddedPostgresError(
    `None of ${SHELTERS.join(', ')} can be used for the embedded PostgreSQL`,
    'Run Spillway as an ordinary user, or in a directory that every user can enter, or set DATABASE_URL.',
  )
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

function unusable(place: string, cause?: unknown): EmbeddedPostgresError {
  return new EmbeddedPostgresError(
    `${place} belongs to another user`,
    'Run Spillway as the user who started it here first, remove that directory, or set DATABASE_URL.',
    { cause },
  )
}
