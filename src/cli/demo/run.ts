/**
 * The demo from start to end:
 *
 *   database → endpoints → daemon → destinations → writers and the naive reader
 *   … → writers stop → the rest is delivered → daemon stops → the books are balanced
 *
 * Everything is what a user has: a real PostgreSQL, the real daemon, destinations inserted by plain SQL,
 * real HTTP. Only the back-off is shorter. Whatever part fails ends the demo with its error.
 */
import { Daemon } from '../../app.ts'
import { connectState, type Sql } from '../../db/client.ts'
import { createLog } from '../../telemetry/log.ts'
import { Metrics } from '../../telemetry/metrics.ts'
import { version } from '../../version.ts'
import { Account } from './accounting.ts'
import { openDemoDatabase } from './database.ts'
import type { Display } from './display.ts'
import { LogLines } from './log-lines.ts'
import { NaiveReader } from './naive.ts'
import { demoConfig, plannedDestinations, pollIntervalMs } from './plan.ts'
import { Receiver } from './receiver.ts'
import { balance, type DemoResult } from './result.ts'
import { Stage } from './stage.ts'
import { Writer } from './writer.ts'

export interface DemoOptions {
  readonly env: NodeJS.ProcessEnv
  /** For how long rows are written; undefined until `signal` aborts. */
  readonly limitMs: number | undefined
  readonly display: Display
  readonly signal: AbortSignal
}

/** What is not delivered this long after the writers have stopped counts as lost. */
const drainMs = 10_000
const keptLogLines = 6

export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { display, env } = options
  const closers: (() => Promise<void>)[] = []
  try {
    // Judged before anything starts; the address is known only later.
    demoConfig('postgres://localhost/judged', env)
    display.note('Starting PostgreSQL (the first time takes some seconds) …')
    const database = await openDemoDatabase()
    closers.push(database.close)
    return await perform(options, database.url, closers)
  } finally {
    await closeAll(closers)
  }
}

/** In the order opposite to the opening; one that fails keeps none of the others from closing. */
async function closeAll(closers: readonly (() => Promise<void>)[]): Promise<void> {
  const failures: unknown[] = []
  for (const close of closers.toReversed()) {
    await close().catch((error: unknown) => failures.push(error))
  }
  if (failures.length > 0) throw failures[0]
}

async function perform(
  { env, limitMs, display, signal }: DemoOptions,
  url: string,
  closers: (() => Promise<void>)[],
): Promise<DemoResult> {
  const accounts = plannedDestinations.map((plan) => new Account(plan))
  const receiver = new Receiver(accounts)
  const address = await receiver.listen()
  closers.push(() => receiver.close())

  display.note('Starting Spillway …')
  const log = new LogLines(keptLogLines, (line) => display.log(line))
  const config = demoConfig(url, env)
  const metrics = new Metrics({ version, perDestination: config.metricsPerDestination })
  closers.push(async () => metrics.close())
  const daemon = new Daemon(
    config,
    createLog({ level: config.logLevel, version, stream: log, metrics }),
    metrics,
  )
  let stopped: Promise<void> | undefined
  const stopDaemon = (reason: string) => {
    stopped ??= daemon.stop(reason)
    return stopped
  }
  closers.push(() => stopDaemon('an error'))
  await daemon.start()

  const sql = connectState(url, { applicationName: 'spillway demo', max: 2 })
  closers.push(() => sql.end({ timeout: 2 }))
  await insertDestinations(sql, address)

  const naive = new NaiveReader(sql)
  const writer = new Writer(
    url,
    {
      committed(rows) {
        for (const row of rows) for (const each of [...accounts, naive]) each.committed(row)
      },
    },
    Math.random,
  )
  const ending = new AbortController()
  const failures: unknown[] = []
  const part = (work: Promise<void>): Promise<void> =>
    work.catch((error: unknown) => {
      failures.push(error)
      ending.abort()
    })
  const stopOn = AbortSignal.any([signal, ending.signal])
  const writing = new AbortController()
  const reading = new AbortController()
  closers.push(async () => {
    writing.abort()
    reading.abort()
    await Promise.all([written, read])
  })
  receiver.begin()
  const began = performance.now()
  const written = part(writer.run(writing.signal))
  const read = part(naive.run(pollIntervalMs, reading.signal))
  void part(daemon.run())

  const stage = new Stage({ sql, accounts, naive, writer, log, display, limitMs })
  await stage.play(
    'writing',
    stopOn,
    () => performance.now() - began >= (limitMs ?? Number.POSITIVE_INFINITY),
  )
  const durationMs = performance.now() - began
  writing.abort()
  await written
  receiver.recover()
  const drainUntil = performance.now() + drainMs
  const delivered = () => accounts.every(({ behind }) => behind === 0)
  await stage.play('draining', ending.signal, () => delivered() || performance.now() >= drainUntil)
  reading.abort()
  await read
  if (failures.length === 0) await naive.poll()
  await stopDaemon('the end of the demo')
  if (failures.length > 0) throw failures[0]
  const { transactions, rolledBack } = writer
  return balance(sql, accounts, naive, { durationMs, transactions, rolledBack })
}

/** As an operator would with psql: an INSERT is enough. */
async function insertDestinations(sql: Sql, address: string): Promise<void> {
  for (const { name, path, org, logTypes, format, gzip } of plannedDestinations) {
    const config = { url: `${address}${path}`, format, gzip }
    await sql`
      INSERT INTO spillway.destinations (org_id, name, type, log_types, config)
      VALUES (${org}, ${name}, 'http', ${`{${logTypes.join(',')}}`}::text::text[], ${sql.json(config)})`
  }
}
