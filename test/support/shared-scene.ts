/**
 * Several replicas that share destinations on one database, under writers, with everything on record that the invariants
 * can be held against: requests with their times, leases, cursors, and what is committed.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type postgres from 'postgres'
import { expect } from 'vitest'
import { account, nothingWrong } from './accounting.ts'
import { type AuditTable, createAuditTable, variants } from './audit-table.ts'
import { type DaemonProcess, startDaemon } from './daemon.ts'
import { insertDestination, settled } from './destinations.ts'
import { type LeaseHistory, leaseHistory, recordLeases } from './lease-history.ts'
import { connect, whenDone } from './postgres.ts'
import { type Random, seeded } from './random.ts'
import { type Behaviour, late, startReceiver } from './receiver.ts'
import { overlaps, recordVisits, signature, signedBy, type Visit } from './visits.ts'
import { type Undaunted, writeUndaunted } from './writers/undaunted.ts'

export interface SharedSceneOptions {
  /** Of Spillway's own tables. */
  readonly url: string
  /** Of the audit table, if it is in another database. */
  readonly sourceUrl?: string
  readonly seed: number
  readonly leaseMs?: number
  readonly writers?: number
  readonly destinations?: number
}

export interface Replica {
  readonly name: string
  /** Of its leases. */
  readonly id: string
  readonly daemon: DaemonProcess
}

export interface SharedScene {
  readonly sql: postgres.Sql
  readonly sourceSql: postgres.Sql
  readonly table: AuditTable
  readonly visits: readonly Visit[]
  readonly leases: LeaseHistory
  readonly writers: Undaunted
  readonly random: Random
  /** `url`: its way to the database. */
  start(name: string, url: string, env?: Readonly<Record<string, string>>): Promise<Replica>
  /** Waits until all live replicas hold as many shards as they should. */
  shared(): Promise<void>
  /** Requests of a replica from now on are answered in this way; undefined: soon. */
  answer(name: string, behaviour: Behaviour | undefined): void
  /** Resolves with how long it took until the replica's next request came, or until it had a share without destinations. */
  heardFrom(name: string): Promise<number>
  /** Ends the writers and waits until everything is settled. */
  settle(): Promise<void>
  /** Stops the replicas, and holds all that is on record against I1–I5. */
  account(options?: { readonly repeatsElsewhere?: boolean }): Promise<void>
  /** Spillway's own tables are on another server from now on. */
  failedOver(url: string): void
}

const orgs = ['acme', 'globex', 'initech', null] as const
const longestAnswerMs = 15

/** Everything is closed at the end of the test or file. */
export async function sharedScene(options: SharedSceneOptions): Promise<SharedScene> {
  const { url, sourceUrl = url, seed, leaseMs = 5_000, writers: count = 3, destinations = 12 } = options
  let sql = connect(url)
  const sourceSql = sourceUrl === url ? sql : connect(sourceUrl)
  const random = seeded(seed)
  const receiver = await startReceiver()
  whenDone(() => receiver.close())
  const table = await createAuditTable(sourceSql, variants[0], orgs)
  if (sourceUrl !== url) {
    await sql`
      INSERT INTO spillway.sources (log_type, relation, id_column, org_column, timestamp_column)
      VALUES (${table.logType}, ${table.relation}, 'id', 'org', 'at')`
  }
  let leases = await recordLeases(sql)
  const answers = new Map<string, Behaviour>()
  const visits = recordVisits(receiver, (replica) => answers.get(replica) ?? late(random() * longestAnswerMs))
  // So that their shards lie all over the range.
  await sql`ALTER TABLE spillway.destinations ALTER COLUMN id SET INCREMENT BY 5`
  const all: { readonly id: number; readonly org: string | null; readonly path: string }[] = []
  for (let index = 0; index < destinations; index++) {
    const path = `/${index}`
    const org = orgs[index % orgs.length] ?? null
    const id = await insertDestination(sql, {
      url: '',
      config: signedBy(`${receiver.url}${path}`),
      name: path,
      org,
      logTypes: [table.logType],
      // Before the first row; where the table is in another database, `now` would be a moment later.
      startFrom: 'beginning',
      delivery: { batchSize: 20 },
    })
    all.push({ id, org, path })
  }
  const writers = writeUndaunted({ url: sourceUrl, table, seed, writers: count, orgs, longestPauseMs: 300 })
  whenDone(() => writers.stop())
  const replicas: Replica[] = []

  return {
    get sql() {
      return sql
    },
    sourceSql,
    table,
    visits,
    get leases() {
      return leases
    },
    failedOver(next) {
      sql = connect(next)
      leases = leaseHistory(sql)
    },
    writers,
    random,
    async start(name, way, env = {}) {
      const daemon = await startDaemon(way, {
        SPILLWAY_INTER_BATCH_DELAY_MS: '0',
        // Many daemons run beside each other.
        SPILLWAY_POLL_INTERVAL_MS: '200',
        LOG_LEVEL: 'info',
        SPILLWAY_LEASE_MS: String(leaseMs),
        SPILLWAY_BACKOFF_SCHEDULE_MS: '200',
        ...signature(name),
        ...env,
      })
      const known = replicas.map(({ id }) => id)
      const [row] = await sql<{ id: string }[]>`
        SELECT id FROM spillway.replicas WHERE NOT id = ANY (${`{${known.join()}}`}::text::uuid[])
        ORDER BY started_at DESC LIMIT 1`
      const replica = { name, id: row?.id ?? '', daemon }
      replicas.push(replica)
      return replica
    },
    async shared() {
      for (;;) {
        const [row] = await sql<{ fair: boolean }[]>`
          SELECT coalesce(max(held) - min(held) <= 1 AND sum(held) = 64 AND count(*) = ${replicas.length}, false) AS fair
          FROM (SELECT (SELECT count(*) FROM spillway.leases l WHERE l.owner = r.id AND l.expires_at > clock_timestamp()) AS held
                FROM spillway.replicas r WHERE r.expires_at > clock_timestamp()) h`
        if (row?.fair) return
        await sql`SELECT pg_sleep(0.05)`
      }
    },
    answer(name, behaviour) {
      if (behaviour) answers.set(name, behaviour)
      else answers.delete(name)
    },
    async heardFrom(name) {
      const began = performance.now()
      const known = visits.length
      const { id } = replicas.find((replica) => replica.name === name) ?? { id: '' }
      // Shares are of shards, and by chance a replica's may have no destination among them.
      const hasNone = async () => {
        const [row] = await sql<{ none: boolean }[]>`
          -- A share of a third at least.
          SELECT count(*) >= 21 AND NOT EXISTS (
            SELECT FROM spillway.destinations d JOIN spillway.leases l ON l.shard = spillway.shard_of(d.id)
            WHERE l.owner = ${id}::text::uuid) AS none
          FROM spillway.leases WHERE owner = ${id}::text::uuid`
        return row?.none === true
      }
      while (!visits.slice(known).some(({ replica }) => replica === name)) {
        if (await hasNone()) break
        await delay(50)
      }
      return performance.now() - began
    },
    async settle() {
      await writers.stop()
      // From one database to the other a cursor cannot be compared in one statement.
      if (sourceUrl === url) for (const { id, org } of all) await settled(sql, id, org, table)
      else for (const { id, org } of all) await settledApart(sql, sourceSql, table, id, org)
    },
    async account({ repeatsElsewhere = false } = {}) {
      for (const { name, daemon } of replicas) {
        expect(await daemon.stop(), `${name} ended with`).toBe(0)
        expect(
          daemon.lines.filter(({ level }) => level === 'error' || level === 'fatal'),
          `${name} complained of`,
        ).toEqual([])
      }
      for (const { org, path } of all) {
        const requests = visits.filter((visit) => visit.path === path).map(({ request }) => request)
        const { repeatedElsewhere, ...rest } = nothingWrong
        expect(await account(sourceSql, requests, org, { table }), path).toMatchObject(
          repeatsElsewhere ? rest : { ...rest, repeatedElsewhere },
        )
      }
      expect(overlaps(visits)).toEqual([])
      expect(await leases.backwards()).toEqual([])
      expect(
        await sql`
          SELECT destination_id, reason FROM spillway.skipped_ranges
          UNION ALL SELECT destination_id, reason FROM spillway.dead_letters`,
      ).toEqual([])
    },
  }
}

/** As `settled`, where the table is in another database. */
async function settledApart(
  sql: postgres.Sql,
  sourceSql: postgres.Sql,
  { relation, orgColumn, logType }: AuditTable,
  id: number,
  org: string | null,
): Promise<void> {
  const [last] = await sourceSql<{ id: string | null }[]>`
    SELECT max(id)::text AS id FROM ${sourceSql(relation)} WHERE ${org}::text IS NULL OR ${sourceSql(orgColumn)} = ${org}`
  for (;;) {
    const [row] = await sql<{ done: boolean }[]>`
      SELECT position::bigint >= ${last?.id ?? '0'}::text::bigint AS done FROM spillway.cursors
      WHERE destination_id = ${id} AND log_type = ${logType}`
    if (row?.done) return
    await sql`SELECT pg_sleep(0.05)`
  }
}

/** Runs scenarios that wait more than they work beside each other; all come to their end before the first failure shows. */
export async function beside(scenarios: Readonly<Record<string, () => Promise<void>>>): Promise<void> {
  const outcomes = await Promise.all(
    Object.entries(scenarios).map(async ([name, run]) => {
      try {
        await run()
        return []
      } catch (error) {
        return [`${name}: ${error instanceof Error ? error.stack : String(error)}`]
      }
    }),
  )
  expect(outcomes.flat().join('\n\n')).toBe('')
}
