/** Several daemons on one database, each a process of its own with a name that its requests and its writes carry. */
import type postgres from 'postgres'
import { briefLease, type DaemonProcess, type LogLine, spawnDaemon } from '../daemon.ts'
import type { LeaseWatch } from './lease-watch.ts'

export interface Replica {
  readonly process: DaemonProcess
  readonly pid: number
  /** Its role in the database. */
  readonly login: string
  /** When a test ended it, by `performance.now()`. */
  endedAt?: number
}

export interface ReplicaOptions {
  readonly env?: Readonly<Record<string, string>>
  /** How wrong its wall clock is; with `clockStepMs`, in turns. */
  readonly clockOffMs?: number
  readonly clockStepMs?: number
  /** Settings of its role in the database. */
  readonly role?: Readonly<Record<string, string>>
}

const named = new URL('./named.ts', import.meta.url).href
const skewed = new URL('./skewed.ts', import.meta.url).href

/** A receiver that shares its machine with others. */
const readWithinMs = 1_000

export class Replicas {
  /** All that were ever started. */
  readonly all: Replica[] = []
  readonly #sql: postgres.Sql
  readonly #watch: LeaseWatch
  readonly #env: Readonly<Record<string, string>>

  constructor(sql: postgres.Sql, watch: LeaseWatch, env: Readonly<Record<string, string>> = {}) {
    this.#sql = sql
    this.#watch = watch
    this.#env = env
  }

  get running(): Replica[] {
    return this.all.filter(({ endedAt }) => endedAt === undefined)
  }

  get lines(): LogLine[] {
    return this.all.flatMap(({ process }) => process.lines)
  }

  /** What they said at level warn and above. */
  get complaints(): LogLine[] {
    return this.lines.filter(({ level }) => level !== 'debug' && level !== 'info')
  }

  /** Does not wait until it serves. */
  async spawn({ env = {}, clockOffMs, clockStepMs, role }: ReplicaOptions = {}): Promise<Replica> {
    const { login, url } = await this.#watch.login(role)
    const preloads = clockOffMs === undefined ? [named] : [skewed, named]
    const process = spawnDaemon(url, {
      ...briefLease,
      NODE_OPTIONS: preloads.map((href) => `--import=${href}`).join(' '),
      SPILLWAY_INTER_BATCH_DELAY_MS: '0',
      LOG_LEVEL: 'info',
      ...(clockOffMs !== undefined && { TEST_CLOCK_OFF_MS: String(clockOffMs) }),
      ...(clockStepMs !== undefined && { TEST_CLOCK_STEP_EVERY_MS: String(clockStepMs) }),
      ...this.#env,
      ...env,
    })
    const replica: Replica = { process, pid: process.pid, login }
    this.all.push(replica)
    return replica
  }

  async start(options: ReplicaOptions = {}): Promise<Replica> {
    const replica = await this.spawn(options)
    await replica.process.logged('daemon.started')
    return replica
  }

  /** All of them at once; resolves when they serve and share evenly. */
  async startMany(count: number, options: ReplicaOptions = {}): Promise<Replica[]> {
    const started = await Promise.all(Array.from({ length: count }, () => this.start(options)))
    await this.shared()
    return started
  }

  kill(replica: Replica): void {
    replica.endedAt = performance.now()
    replica.process.kill('SIGKILL')
  }

  /** SIGTERM; resolves with the exit code. */
  stop(replica: Replica): Promise<number | null> {
    replica.endedAt = performance.now()
    return replica.process.stop()
  }

  stopAll(): Promise<(number | null)[]> {
    return Promise.all(this.running.map((replica) => this.stop(replica)))
  }

  /**
   * The last time between two instants that a process was ended or lost leases; undefined when it did neither. `from`: when a
   * request of it was read, which may be a while after it was sent.
   */
  endOfTrust(pid: number, from: number, to: number): number | undefined {
    const replica = this.all.find((each) => each.pid === pid)
    const losses = replica?.process.lines.filter(({ event }) => event === 'lease.lost') ?? []
    const times = losses.map(({ time }) => Date.parse(String(time)) - performance.timeOrigin)
    if (replica?.endedAt !== undefined) times.push(replica.endedAt)
    return times.toSorted((a, b) => a - b).findLast((at) => at >= from - readWithinMs && at <= to)
  }

  /** How many shards each of those that run holds, by the database. */
  async holdings(): Promise<Map<string, number>> {
    const rows = await this.#sql<{ login: string; shards: number }[]>`
      SELECT t.login, count(*)::int AS shards
      FROM spillway.leases l JOIN public.tenures t USING (shard, epoch)
      WHERE l.owner IS NOT NULL AND l.expires_at > clock_timestamp() GROUP BY t.login`
    return new Map(rows.map(({ login, shards }) => [login, shards]))
  }

  /** Resolves when all 64 shards are held, by those that run, in even shares. */
  async shared(): Promise<void> {
    for (;;) {
      const holdings = await this.holdings()
      const shares = this.running.map(({ login }) => holdings.get(login) ?? 0)
      const sum = shares.reduce((total, share) => total + share, 0)
      if (sum === 64 && Math.max(...shares) - Math.min(...shares) <= 1) return
      await this.#sql`SELECT pg_sleep(0.05)`
    }
  }
}
