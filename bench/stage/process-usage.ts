/** What processes of this machine have used, by Linux's /proc. */
import { readdir, readFile } from 'node:fs/promises'

/** USER_HZ, which is 100 wherever Node runs on Linux. */
const ticksPerSecond = 100

interface Times {
  readonly parent: number
  /** User and system time. */
  readonly own: number
  /** That of children which have ended and were waited for. */
  readonly ended: number
}

/** Seconds of processor time that a process has used so far. */
export async function cpuSeconds(pid: number): Promise<number> {
  return ((await timesOf(pid))?.own ?? 0) / ticksPerSecond
}

/** The same for a process with all its children, those that have ended too. */
export async function familyCpuSeconds(pid: number): Promise<number> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const all = await Promise.all(pids.map(async (each) => ({ pid: each, times: await timesOf(each) })))
  let ticks = 0
  for (const { pid: each, times } of all) {
    if (times && each === pid) ticks += times.own + times.ended
    else if (times?.parent === pid) ticks += times.own
  }
  return ticks / ticksPerSecond
}

/** Bytes that a process holds in memory now and held at most. */
export async function memoryOf(pid: number): Promise<{ readonly now: number; readonly peak: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const bytes = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024
  return { now: bytes('VmRSS'), peak: bytes('VmHWM') }
}

/** Undefined for a process that is gone. Fields of proc(5): 4 ppid, 14 utime, 15 stime, 16 cutime, 17 cstime. */
async function timesOf(pid: number): Promise<Times | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (stat === undefined) return undefined
  // The command may contain anything; the state, field 3, follows its bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const field = (number: number) => Number(fields[number - 3])
  return { parent: field(4), own: field(14) + field(15), ended: field(16) + field(17) }
}
