/** One run: writers and a housekeeper on a table, a daemon that is restarted under them, three destinations. */
import type postgres from 'postgres'
import { type Account, account, deliveries } from '../accounting.ts'
import { type AuditTable, createAuditTable, type Variant } from '../audit-table.ts'
import { briefLease, type DaemonProcess, type LogLine, spawnDaemon, startDaemon } from '../daemon.ts'
import { insertDestination } from '../destinations.ts'
import { readNaively } from '../naive-reader.ts'
import { createTestDatabase, whenDone } from '../postgres.ts'
import { seeded } from '../random.ts'
import { destroy, late, type Receiver, startReceiver } from '../receiver.ts'
import { keepHouse } from './keeper.ts'
import { deedsOf } from './plan.ts'
import { insertBy, writeAudit } from './writers.ts'

export interface RunOptions {
  readonly variant: Variant
  readonly seed: number
  readonly writers: number
  /** Of each writer. */
  readonly transactions: number
  /** What ends the daemon in the middle, before the next one starts. */
  readonly restarts: readonly ('SIGTERM' | 'SIGKILL')[]
  /** Writes again with further seeds until this much time has passed. */
  readonly soakMs?: number
  /** Of the requests: taken and answered by resetting the connection. */
  readonly droppedShare?: number
  /** The housekeeper leaves nothing that has been delivered. */
  readonly hasThoroughKeeper?: boolean
  /** For the daemon's process. */
  readonly env?: Readonly<Record<string, string>>
}

export interface Run {
  /** Of the destination of all orgs. */
  readonly everything: Account
  /** Of those with one org each. */
  readonly tenants: readonly Account[]
  /** Rows that were ever committed, and those of them that were taken away after they had arrived. */
  readonly committed: number
  readonly removed: number
  /** Records of events that were not delivered; there is no reason for any. */
  readonly notDelivered: readonly postgres.Row[]
  /** How often what was done by the writers and the housekeeper. */
  readonly deeds: Readonly<Record<string, number>>
  /** What the daemons said at level warn and above. */
  readonly complaints: readonly LogLine[]
  /** What a reader by `id > cursor` did not see of the rows that are still there; ordering `id` only. */
  readonly lostByNaiveReader: number
}

const orgs = ['acme', 'globex', 'initech', "O'Brien & Søns", null] as const
const tenants = ['acme', "O'Brien & Søns"] as const
/** Slow enough for kills to meet batches on their way. */
const longestAnswerMs = 15

interface Endpoint {
  readonly org: string | null
  readonly receiver: Receiver
  readonly arrived: Arrivals
  readonly killsAt: number[]
}

export async function runWriters(options: RunOptions): Promise<Run> {
  const { variant, seed, soakMs = 0, droppedShare = 0, hasThoroughKeeper = false } = options
  const { url, sql } = await createTestDatabase()
  let stage = 'beginning'
  whenDone(async () => {
    if (stage !== 'done') await describeStandstill(sql, stage)
    await endPrepared(sql)
  })
  await postponeDeadlockChecks(sql, url)
  const table = await createAuditTable(sql, variant, orgs)
  const random = seeded(seed)
  const endpoints: Endpoint[] = []
  for (const org of [null, ...tenants]) {
    const receiver = await startReceiver()
    whenDone(() => receiver.close())
    receiver.always({ choose: () => (random() < droppedShare ? destroy : late(random() * longestAnswerMs)) })
    await insertDestination(sql, {
      url: receiver.url,
      org,
      logTypes: [table.logType],
      delivery: { batchSize: 40 },
    })
    endpoints.push({ org, receiver, arrived: new Arrivals(receiver, table.logType), killsAt: [] })
  }
  const deeds = new Tally()
  const written = new AbortController()
  const arrived = new AbortController()
  const naive =
    variant.ordering === 'id'
      ? readNaively(sql, table.relation, 50, arrived.signal)
      : Promise.resolve(undefined)
  const house = keepHouse({
    sql,
    table,
    seed,
    orgs,
    isThorough: hasThoroughKeeper,
    delivered: () => arrivedEverywhere(endpoints),
    signal: written.signal,
    onDone: (deed) => deeds.add(deed),
  })
  // They are waited for at the end; until then an error of theirs has nobody who hears it.
  for (const early of [naive, house]) early.catch(() => {})
  const daemons = new Daemons(url, options.env ?? {}, endpoints)
  await daemons.start()
  stage = 'writing'
  const started = performance.now()
  let round = 0
  do {
    await writeWithRestarts(url, table, daemons, deeds, { ...options, seed: seed + round })
    round += 1
  } while (performance.now() - started < soakMs)
  written.abort()
  stage = 'waiting for the last rows'
  const takeAwayTheRest = await house
  await lastRowsArrived(sql, table, endpoints, daemons)
  await takeAwayTheRest()
  await daemons.stop()
  arrived.abort()
  const seen = await naive
  stage = 'done'

  const accounts = await Promise.all(
    endpoints.map(({ org, receiver, killsAt }) => account(sql, receiver.requests, org, { table, killsAt })),
  )
  const rows = await table.committed(sql)
  const there = rows.filter(({ removed }) => !removed)
  const notDelivered = await sql`
    SELECT destination_id, from_position AS place, to_position AS up_to, reason FROM spillway.skipped_ranges
    UNION ALL SELECT destination_id, event_id, NULL, reason FROM spillway.dead_letters`
  const [everything, ...others] = accounts
  if (!everything) throw new Error('there is a destination of all orgs')
  return {
    everything,
    tenants: others,
    committed: rows.length,
    removed: rows.length - there.length,
    deeds: deeds.counts,
    notDelivered,
    complaints: daemons.complaints,
    lostByNaiveReader: there.filter(({ id }) => seen?.has(id) === false).length,
  }
}

/** One pass of all writers, with the restarts spread evenly over it. */
async function writeWithRestarts(
  url: string,
  table: AuditTable,
  daemons: Daemons,
  deeds: Tally,
  { writers, transactions, restarts, seed }: RunOptions,
): Promise<void> {
  let ended = 0
  const waiting: { readonly count: number; readonly resolve: () => void }[] = []
  const share = (writers * transactions) / (restarts.length + 1)
  const reached = restarts.map(
    (_, index) =>
      new Promise<void>((resolve) => {
        waiting.push({ count: share * (index + 1), resolve })
      }),
  )
  const writing = writeAudit({
    url,
    table,
    seed,
    orgs,
    writers,
    transactions,
    longestPauseMs: 300,
    onEnded: (transaction) => {
      for (const deed of transaction ? deedsOf(transaction) : ['lost to locks']) deeds.add(deed)
      ended += 1
      for (const { count, resolve } of waiting) {
        if (ended >= count) resolve()
      }
    },
  })
  for (const [index, signal] of restarts.entries()) {
    await Promise.race([reached[index], writing])
    await daemons.restart(signal, writing)
  }
  await writing
}

/**
 * Nobody writes any more, so these are the last rows in any order: when they have arrived, so has everything
 * that ever will.
 */
async function lastRowsArrived(
  sql: postgres.Sql,
  table: AuditTable,
  endpoints: readonly Endpoint[],
  daemons: Daemons,
): Promise<void> {
  const last = new Map<string | null, string>()
  for (const [index, org] of orgs.entries()) {
    const note = `the last of ${org}`
    const key = table.variant.key === 'bigint' ? null : `1a57f0de-0000-4000-8000-00000000000${index}`
    await sql.begin((tx) =>
      insertBy.insert(tx, table, table.relation, [{ key, org, at: '2026-07-01T00:00:00.000Z', note }]),
    )
    const [row] = await sql<{ id: string }[]>`
      SELECT id::text FROM ${sql(table.relation)} WHERE note = ${note}`
    if (row) last.set(org, row.id)
  }
  for (const { org, arrived } of endpoints) {
    const expected = org === null ? [...last.values()] : [last.get(org) ?? '']
    await Promise.race([
      arrived.all(expected),
      daemons.ended.then(() => {
        throw new Error('the daemon ended before the last rows had arrived')
      }),
    ])
  }
}

class Tally {
  readonly counts: Record<string, number> = {}

  add(deed: string): void {
    this.counts[deed] = (this.counts[deed] ?? 0) + 1
  }
}

/** The daemons of a run, one at a time. */
class Daemons {
  readonly #url: string
  readonly #env: Readonly<Record<string, string>>
  readonly #endpoints: readonly Endpoint[]
  readonly #all: DaemonProcess[] = []

  constructor(url: string, env: Readonly<Record<string, string>>, endpoints: readonly Endpoint[]) {
    this.#url = url
    this.#env = { ...briefLease, SPILLWAY_INTER_BATCH_DELAY_MS: '0', ...env }
    this.#endpoints = endpoints
  }

  get complaints(): LogLine[] {
    return this.#all.flatMap(({ lines }) => lines.filter(({ level }) => !['debug', 'info'].includes(level)))
  }

  get ended(): Promise<unknown> {
    return this.#running.exited
  }

  get #running(): DaemonProcess {
    const running = this.#all.at(-1)
    if (!running) throw new Error('no daemon has been started')
    return running
  }

  async start(): Promise<void> {
    this.#all.push(await startDaemon(this.#url, this.#env))
  }

  async stop(): Promise<void> {
    const code = await this.#running.stop()
    if (code !== 0) throw new Error(`the daemon ended with ${code}`)
  }

  /** `writing` ends when there may be no further request to wait for. */
  async restart(signal: 'SIGTERM' | 'SIGKILL', writing: Promise<void>): Promise<void> {
    if (signal === 'SIGTERM') {
      await this.stop()
    } else {
      // The instant at which a batch has arrived and is not settled yet.
      const [{ receiver }] = this.#endpoints as [Endpoint]
      await Promise.race([receiver.received(receiver.requests.length + 1), writing])
      this.#running.kill(signal)
      await this.#running.exited
    }
    const next = spawnDaemon(this.#url, this.#env)
    this.#all.push(next)
    await next.logged('lease.acquired')
    // By now the last requests of the one before have been read, and the next one has not sent any yet.
    if (signal === 'SIGKILL') {
      for (const { killsAt, receiver } of this.#endpoints) killsAt.push(receiver.requests.length)
    }
    await next.logged('daemon.started')
  }
}

/** The rows that have come to a receiver, looked through once each. */
class Arrivals {
  readonly #receiver: Receiver
  readonly #prefix: string
  readonly #orgOf = new Map<string, string | null>()
  #looked = 0

  constructor(receiver: Receiver, logType: string) {
    this.#receiver = receiver
    this.#prefix = `${logType}:`
  }

  /** Row id → org. */
  get orgOf(): ReadonlyMap<string, string | null> {
    const { requests } = this.#receiver
    for (const { events } of deliveries(requests.slice(this.#looked))) {
      for (const { id, org_id } of events) this.#orgOf.set(id.slice(this.#prefix.length), org_id)
    }
    this.#looked = requests.length
    return this.#orgOf
  }

  /** Resolves when all of these have come. */
  async all(ids: readonly string[]): Promise<void> {
    while (!ids.every((id) => this.orgOf.has(id))) await this.#receiver.received(this.#looked + 1)
  }
}

/** A tenant's rows go to two destinations; what has come to both may be deleted. */
function arrivedEverywhere(endpoints: readonly Endpoint[]): Set<string> {
  const [everything, ...others] = endpoints.map(({ org, arrived }) => ({ org, orgOf: arrived.orgOf }))
  const everywhere = new Set<string>()
  for (const [id, rowOrg] of everything?.orgOf ?? []) {
    if (others.every(({ org, orgOf }) => org !== rowOrg || orgOf.has(id))) everywhere.add(id)
  }
  return everywhere
}

/**
 * Whoever asks for a strong lock in a run gives up long before these checks, which ends any deadlock. The check
 * would also cancel others: a reader that only queues behind it, or a COPY in its middle, and of an error
 * after the data has been sent the driver's stream does not hear.
 */
async function postponeDeadlockChecks(sql: postgres.Sql, url: string): Promise<void> {
  await sql`ALTER DATABASE ${sql(new URL(url).pathname.slice(1))} SET deadlock_timeout = '10s'`
  // The one connection that is open so far.
  await sql`SET deadlock_timeout = '10s'`
}

/** Where a run that came to no end was, and who did what then. */
async function describeStandstill(sql: postgres.Sql, stage: string): Promise<void> {
  const sessions = await sql`
    SELECT application_name, state, wait_event, now() - xact_start AS open_for, left(query, 100) AS query,
           pg_blocking_pids(pid) AS waits_for, pid
    FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL ORDER BY xact_start`
  const lines = sessions.map((session) => JSON.stringify(session))
  process.stderr.write(`The run did not end; it was ${stage}. Open transactions:\n${lines.join('\n')}\n`)
}

/** What a run that failed has left behind would keep its database from being dropped. */
async function endPrepared(sql: postgres.Sql): Promise<void> {
  const open = await sql<
    { gid: string }[]
  >`SELECT gid FROM pg_prepared_xacts WHERE database = current_database()`
  for (const { gid } of open) await sql.unsafe(`ROLLBACK PREPARED '${gid}'`)
}
