/** An audit table with many orgs, a destination for each, and who counts at the end. */
import type postgres from 'postgres'
import { type Account, account, nothingWrong } from '../accounting.ts'
import { type AuditTable, createAuditTable, type Variant, variants } from '../audit-table.ts'
import { insertDestination } from '../destinations.ts'
import { createScene, type Scene } from '../scene.ts'
import { writeAudit } from '../writers/writers.ts'
import { LeaseWatch } from './lease-watch.ts'
import { Replicas } from './replicas.ts'
import { type Answer, byPath, type Exchange, Traffic } from './traffic.ts'

export interface ReplicaSceneOptions {
  readonly destinations: number
  readonly variant?: Variant
  readonly env?: Readonly<Record<string, string>>
  readonly batchSize?: number
  readonly config?: Readonly<Record<string, postgres.JSONValue>>
  answer?(exchange: Exchange): Answer
}

export interface Target {
  readonly id: number
  readonly path: string
  readonly org: string
}

export class ReplicaScene {
  readonly url: string
  readonly sql: postgres.Sql
  readonly table: AuditTable
  readonly replicas: Replicas
  readonly watch: LeaseWatch
  readonly traffic: Traffic
  readonly targets: Target[] = []
  readonly orgs: readonly [string, ...string[]]
  readonly #receiverUrl: string
  readonly #options: ReplicaSceneOptions

  private constructor(
    scene: Scene,
    table: AuditTable,
    watch: LeaseWatch,
    orgs: readonly [string, ...string[]],
    options: ReplicaSceneOptions,
  ) {
    this.url = scene.url
    this.sql = scene.sql
    this.table = table
    this.watch = watch
    this.orgs = orgs
    this.#receiverUrl = scene.receiver.url
    this.#options = options
    this.replicas = new Replicas(scene.sql, watch, options.env)
    this.traffic = new Traffic(scene.receiver, options.answer ?? (() => ({ status: 200 })))
  }

  static async create(options: ReplicaSceneOptions): Promise<ReplicaScene> {
    const base = await createScene()
    const watch = await LeaseWatch.start(base.sql, base.url)
    const orgs = Array.from({ length: options.destinations }, (_, index) => `org-${index}`)
    const [first = 'org-0', ...others] = orgs
    const table = await createAuditTable(base.sql, options.variant ?? variants[0], orgs)
    const scene = new ReplicaScene(base, table, watch, [first, ...others], options)
    for (const org of orgs) await scene.add(org)
    return scene
  }

  async add(org: string, startFrom = 'now', path = `/${org}`): Promise<Target> {
    const { batchSize = 5, config = {} } = this.#options
    const url = `${this.#receiverUrl}${path}`
    const id = await insertDestination(this.sql, {
      url,
      org,
      name: org,
      config: { url, ...config },
      logTypes: [this.table.logType],
      startFrom,
      delivery: { batchSize },
    })
    const target = { id, org, path }
    this.targets.push(target)
    return target
  }

  /** Hostile writers; resolves when `signal` has aborted and they have ended. */
  write(seed: number, writers: number, signal: AbortSignal, longestPauseMs = 300): Promise<void> {
    const { url, table, orgs } = this
    return writeAudit({ url, table, seed, writers, signal, orgs, longestPauseMs })
  }

  /** Resolves when every committed row was accepted by its destination, which began before it. */
  async delivered(): Promise<void> {
    const rows = await this.table.committed(this.sql)
    for (const { org, path } of this.targets) {
      const ids = rows.filter((row) => row.org === org).map(({ id }) => `${this.table.logType}:${id}`)
      while (!ids.every((id) => this.traffic.arrived(path).has(id))) await this.sql`SELECT pg_sleep(0.05)`
    }
  }

  /** The account of each destination that is not right, and what all came to. */
  async accounts(
    exchanges: readonly Exchange[] = this.traffic.exchanges,
  ): Promise<{ wrong: Record<string, Partial<Account>>; rows: number; events: number }> {
    const rows = await this.table.committed(this.sql)
    const table = { ...this.table, committed: async () => rows }
    const sent = byPath(exchanges)
    const wrong: Record<string, Partial<Account>> = {}
    let events = 0
    for (const { org, path } of this.targets) {
      const requests = (sent.get(path) ?? []).map(({ request }) => request)
      const { repeatedBatches, repeatedUnkilled, ...found } = await account(this.sql, requests, org, {
        table,
      })
      if (JSON.stringify(sorted(found)) !== JSON.stringify(sorted(nothingWrong))) wrong[path] = found
      events += this.traffic.arrived(path).size
    }
    return { wrong, rows: rows.length, events }
  }

  /** Records of events that were not delivered. */
  async notDelivered(): Promise<postgres.Row[]> {
    return this.sql`
      SELECT destination_id, from_position AS place, to_position AS up_to, reason FROM spillway.skipped_ranges
      UNION ALL SELECT destination_id, event_id, NULL, reason FROM spillway.dead_letters`
  }
}

function sorted(record: object): [string, unknown][] {
  return Object.entries(record).toSorted(([a], [b]) => (a < b ? -1 : 1))
}
