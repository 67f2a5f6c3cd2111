/**
 * As whom the server runs. PostgreSQL refuses to run as root, so root starts it as another user; everybody
 * else runs it as themselves.
 */
import { execFile } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { EmbeddedPostgresError } from './error.ts'

const run = promisify(execFile)

/** The user to become, when root starts the server. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

const USER = 'postgres'

export const isRoot = (): boolean => process.getuid?.() === 0

/** The system user `postgres`, made if there is none. For root only. */
export async function postgresAccount(): Promise<Account> {
  const existing = await lookUp()
  if (existing) return existing
  // useradd is everywhere but on BusyBox systems, which have an adduser of their own.
  const made =
    (await succeeds('useradd', [
      '--system',
      '--user-group',
      '--no-create-home',
      '--shell',
      '/bin/false',
      USER,
    ])) || (await succeeds('adduser', ['-S', '-D', '-H', '-s', '/bin/false', USER]))
  const created = made ? await lookUp() : undefined
  if (created) return created
  throw new EmbeddedPostgresError(
    `PostgreSQL does not run as root, and the user ${USER} to run it as cannot be created`,
    `Create a system user named ${USER}, run Spillway as an ordinary user, or set DATABASE_URL.`,
  )
}

/**
 * Whether `account` may enter `directory` and all of its parents. A clone below `mktemp -d` or in /root is
 * out of its reach. `directory` must exist and be free of symbolic links. Access lists are not looked at.
 */
export async function canReach(account: Account, directory: string): Promise<boolean> {
  for (let current = directory; ; current = dirname(current)) {
    const { mode, uid, gid } = await stat(current)
    const shift = uid === account.uid ? 6 : gid === account.gid ? 3 : 0
    if (((mode >> shift) & 0o1) === 0) return false
    if (current === dirname(current)) return true
  }
}

async function lookUp(): Promise<Account | undefined> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', USER]), run('id', ['-g', USER])])
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
  } catch {
    return undefined
  }
}

async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  try {
    await run(command, args)
    return true
  } catch {
    return false
  }
}
