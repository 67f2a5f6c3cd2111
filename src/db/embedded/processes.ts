/**
 * Telling processes apart. Pids are handed out again, and in containers soon, so that a file that names a
 * process names its start time too.
 */
import { readFile } from 'node:fs/promises'
import { errnoOf } from './error.ts'

/** Field 22 of /proc/<pid>/stat, counted from the state (field 3), which follows the command's `)`. */
const START_TIME_AFTER_COMMAND = 22 - 3

/**
 * What distinguishes the living process `pid` from later ones of that number, or undefined when there is
 * none. A zombie counts as dead: in a container without an init nobody may ever collect it. Systems without
 * /proc answer '0' for whatever lives.
 */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  if (process.platform !== 'linux') return isSignallable(pid) ? '0' : undefined
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[START_TIME_AFTER_COMMAND]
  } catch (error) {
    // ESRCH: the process ended between the opening of the file and the reading.
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return undefined
    throw error
  }
}

/** The command line of `pid`, or undefined where it cannot be known (no /proc, or no such process). */
export async function commandLineOf(pid: number): Promise<readonly string[] | undefined> {
  // Not /proc/<pid>/cwd: a container's root may not look at that of another user's process.
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined)
  return text?.split('\0')
}

function isSignallable(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errnoOf(error) === 'EPERM'
  }
}
