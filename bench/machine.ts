/** What the figures were taken on. Nothing that names the machine or its owner. */
import { arch, availableParallelism, cpus, loadavg, platform, release, totalmem } from 'node:os'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGB: number
  readonly system: string
  readonly node: string
  readonly postgres: string
  /** Over the minute before the start: others that were at work then. */
  readonly loadAverage: number
}

/** To be called before the first benchmark. */
export function describeMachine(postgresVersion: string): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGB: Math.round(totalmem() / 1e9),
    system: `${platform()} ${release()} ${arch()}`,
    node: process.version,
    postgres: postgresVersion,
    loadAverage: loadavg()[0] ?? 0,
  }
}
