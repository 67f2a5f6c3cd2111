/**
 * Who uses a development server: the last one out turns it off.
 *
 * Each user of a server is a file `users/<pid>.<start time>.<nonce>`; each that is about to leave is a file
 * of that name in `leaving/`. A file whose process is dead counts for nothing, so that a kill -9 leaves no
 * trace that a later start has to be told about: whoever comes next uses the orphaned server and, as the
 * last one out, stops it.
 *
 * Entering writes `users/` and then looks into `leaving/`; leaving writes `leaving/` and then looks into
 * `users/`. So of two processes that do it at once at least one sees the other: either the server is left
 * running, or the newcomer waits until it is down and starts it anew.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sleep } from '../../clock.ts'
import { EmbeddedPostgresError, errnoOf } from './error.ts'
import { startTimeOf } from './processes.ts'

/** Longer than the slowest stop of a server (`STOP_TIMEOUT_MS` twice), so that it is never cut short. */
const LEAVING_TIMEOUT_MS = 60_000
const LOOK_AGAIN_MS = 25

export interface Presence {
  /** Calls `stop` if nobody else is using the server. Tells whether it did. Idempotent. */
  leave(stop: () => Promise<void>): Promise<boolean>
}

export async function enter(home: string): Promise<Presence> {
  const name = `${process.pid}.${(await startTimeOf(process.pid)) ?? '0'}.${randomBytes(4).toString('hex')}`
  const users = join(home, 'users')
  const leaving = join(home, 'leaving')
  await mkdir(users, { recursive: true })
  await mkdir(leaving, { recursive: true })
  await writeFile(join(users, name), '')

  const deadline = performance.now() + LEAVING_TIMEOUT_MS
  while ((await living(leaving)).length > 0) {
    if (performance.now() > deadline) {
      await rm(join(users, name), { force: true })
      throw new EmbeddedPostgresError(
        `Another process has been stopping the server in ${home} for ${LEAVING_TIMEOUT_MS / 1000} s`,
        `End it; its pid is the start of the file name in ${leaving}.`,
      )
    }
    await sleep(LOOK_AGAIN_MS)
  }

  let left: Promise<boolean> | undefined
  return {
    leave(stop) {
      left ??= (async () => {
        await writeFile(join(leaving, name), '')
        try {
          await rm(join(users, name), { force: true })
          if ((await living(users)).length > 0) return false
          await stop()
          return true
        } finally {
          await rm(join(leaving, name), { force: true })
        }
      })()
      return left
    },
  }
}

/** Whether a living process uses the server in `home`. */
export async function isInUse(home: string): Promise<boolean> {
  return (await living(join(home, 'users'))).length > 0 || (await living(join(home, 'leaving'))).length > 0
}

/** The names of the living; files of the dead are removed on the way. */
async function living(folder: string): Promise<string[]> {
  const found: string[] = []
  for (const name of await names(folder)) {
    const [pid, startTime] = name.split('.')
    if ((await startTimeOf(Number(pid))) === startTime) found.push(name)
    else await rm(join(folder, name), { force: true })
  }
  return found
}

async function names(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}
