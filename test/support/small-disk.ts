/** A file system of a test's own, small enough to be filled. */
import { execFile } from 'node:child_process'
import { chmod, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { whenDone } from './postgres.ts'

const run = promisify(execFile)

export interface SmallDisk {
  /** Everybody may enter it. */
  readonly path: string
  /** Takes all the room that is left. */
  fill(): Promise<void>
  /** Gives it back. */
  free(): Promise<void>
}

/** As root, or as one who may become it without being asked. Undefined where nothing can be mounted. */
export async function mountSmallDisk(megabytes: number): Promise<SmallDisk | undefined> {
  const path = await mkdtemp(join(tmpdir(), 'spillway-disk-'))
  const asRoot = async (...command: readonly [string, ...string[]]) => {
    const [file, ...rest] = process.getuid?.() === 0 ? command : (['sudo', '-n', ...command] as const)
    await run(file, rest)
  }
  try {
    await asRoot('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m,mode=1777`, 'spillway-test', path)
  } catch {
    await rm(path, { recursive: true })
    return undefined
  }
  whenDone(async () => {
    await asRoot('umount', '-l', path)
    await rm(path, { recursive: true })
  })
  await chmod(path, 0o1777).catch(() => {})
  const ballast = join(path, 'ballast')
  const free = () => rm(ballast, { force: true })
  return {
    path,
    free,
    async fill() {
      const file = await open(ballast, 'a')
      try {
        for (let bytes = 1024 * 1024; bytes >= 1024; ) {
          try {
            await file.appendFile(Buffer.alloc(bytes))
          } catch {
            bytes /= 2
          }
        }
      } finally {
        await file.close()
      }
    },
  }
}
