/**
 * The rows of `spillway.leases` and `spillway.replicas`. All times are the database's, each statement is a transaction of
 * its own that waits for the disk, and none waits for another replica's: what is locked is passed over.
 */

import type { Sql } from '../db/client.ts'
import type { LeaseName } from '../delivery/lease.ts'
import { type Holding, shardCount } from './share.ts'

export interface ReplicaName {
  readonly id: string
  /** Of the machine or the container, for people. */
  readonly host: string
  readonly version: string
}

/** What all replicas see. */
export interface Board {
  /** Of live replicas, whatever they hold. */
  readonly holdings: readonly Holding[]
  /** Shards that nobody holds. */
  readonly free: number
}

/** A cursor's write need not wait for the disk; these must, or two might hold one lease after a crash. */
const durable = `(SELECT set_config('synchronous_commit', 'on', true)) IS NOT NULL`

/** Holds what nobody may take yet. */
const nobody = '00000000-0000-0000-0000-000000000000'

/** Runs a statement on a connection for leases. */
export type Run = <T>(statement: (sql: Sql) => PromiseLike<T>) => Promise<T>

export class LeaseStore {
  readonly #run: Run
  readonly #replica: ReplicaName
  readonly #leaseMs: number

  constructor(run: Run, replica: ReplicaName, leaseMs: number) {
    this.#run = run
    this.#replica = replica
    this.#leaseMs = leaseMs
  }

  /**
   * Renews the replica's row, and those of its leases that have not ended. Returns the leases. `isStaying`: false for one that
   * is about to leave, whose row is not wanted any more.
   *
   * A row that somebody has locked is left as it is: one of them must not keep all others from being renewed.
   */
  async renew(isStaying: boolean): Promise<RenewedLease[]> {
    const { id, host, version } = this.#replica
    const rows = await this.#run(
      (sql) => sql<(LeaseRow & { renewed: boolean })[]>`
      WITH there AS (
        SELECT r.id FROM spillway.replicas r WHERE r.id = ${id}::text::uuid FOR NO KEY UPDATE SKIP LOCKED
      ), stays AS (
        UPDATE spillway.replicas r SET expires_at = clock_timestamp() + ${this.#lease}::text::interval
        FROM there WHERE r.id = there.id AND ${isStaying}::boolean
      ), comes AS (
        INSERT INTO spillway.replicas (id, host, version, expires_at)
        SELECT ${id}::text::uuid, ${host}::text, ${version}::text, clock_timestamp() + ${this.#lease}::text::interval
        WHERE ${isStaying}::boolean AND NOT EXISTS (SELECT FROM spillway.replicas r WHERE r.id = ${id}::text::uuid)
        ON CONFLICT DO NOTHING
      ), own AS (
        SELECT l.shard FROM spillway.leases l
        WHERE l.owner = ${id}::text::uuid AND l.expires_at > clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED
      ), renewed AS (
        UPDATE spillway.leases l SET expires_at = clock_timestamp() + ${this.#lease}::text::interval
        FROM own WHERE l.shard = own.shard AND l.owner = ${id}::text::uuid AND ${sql.unsafe(durable)}
        RETURNING l.shard
      )
      SELECT l.shard, l.epoch::text AS epoch, l.shard IN (SELECT shard FROM renewed) AS renewed
      FROM spillway.leases l
      WHERE l.owner = ${id}::text::uuid
        AND (l.expires_at > clock_timestamp() OR l.shard IN (SELECT shard FROM renewed))`,
    )
    return rows.map((row) => ({ ...this.#named(row), isRenewed: row.renewed }))
  }

  async look(): Promise<Board> {
    const [row] = await this.#run(
      (sql) => sql<{ holdings: string; free: number }[]>`
      SELECT (SELECT coalesce(json_agg(json_build_object('replica', r.id, 'shards',
                (SELECT count(*) FROM spillway.leases l WHERE l.owner = r.id AND l.expires_at > clock_timestamp()))), '[]')
              FROM spillway.replicas r WHERE r.expires_at > clock_timestamp())::text AS holdings,
             ${shardCount}::int - (SELECT count(*)::int FROM spillway.leases
                WHERE owner IS NOT NULL AND expires_at > clock_timestamp()) AS free`,
    )
    return {
      holdings: JSON.parse(row?.holdings ?? '[]') as Holding[], // built by the statement
      free: row?.free ?? 0,
    }
  }

  /**
   * Takes up to `count` shards that nobody holds, none of `except`. A shard whose last holder's write is just being
   * made is passed over: its lock says so.
   */
  async acquire(count: number, except: readonly number[]): Promise<LeaseName[]> {
    const { id } = this.#replica
    const rows = await this.#run(
      (sql) => sql<LeaseRow[]>`
      WITH free AS (
        SELECT shard FROM spillway.leases
        WHERE (owner IS NULL OR expires_at <= clock_timestamp()) AND shard <> ALL (${`{${except.join()}}`}::text::smallint[])
        ORDER BY shard LIMIT ${count} FOR UPDATE SKIP LOCKED
      )
      UPDATE spillway.leases l SET
        owner = ${id}::text::uuid, epoch = l.epoch + 1, acquired_at = clock_timestamp(),
        expires_at = clock_timestamp() + ${this.#lease}::text::interval
      FROM free WHERE l.shard = free.shard AND ${sql.unsafe(durable)}
      RETURNING l.shard, l.epoch::text AS epoch`,
    )
    return rows.map((row) => this.#named(row))
  }

  /** Free from now on, unless it has ended already, or somebody has locked it: then it runs out. */
  async release({ shard, owner, epoch }: LeaseName): Promise<void> {
    await this.#run(
      (sql) => sql`
      WITH held AS (
        SELECT shard FROM spillway.leases
        WHERE shard = ${shard}::smallint AND owner = ${owner}::text::uuid AND epoch = ${epoch}::text::bigint
        FOR NO KEY UPDATE SKIP LOCKED
      )
      UPDATE spillway.leases l SET owner = NULL, expires_at = '-infinity'
      FROM held WHERE l.shard = held.shard AND ${sql.unsafe(durable)}`,
    )
  }

  /** This replica leaves: the others may take what it gives up. Those that are long gone go with it. */
  async leave(): Promise<void> {
    await this.#run(
      (sql) => sql`
      WITH gone AS (
        SELECT id FROM spillway.replicas
        WHERE id = ${this.#replica.id}::text::uuid OR expires_at < clock_timestamp() - interval '1 hour'
        FOR UPDATE SKIP LOCKED
      )
      DELETE FROM spillway.replicas r USING gone WHERE r.id = gone.id`,
    )
  }

  /**
   * Makes rows of shards that are missing: nobody could hold them, and nothing of them would be delivered. Whoever held
   * one when somebody deleted it may trust in it for the rest of its time, so it is free after that; and no epoch
   * comes a second time.
   */
  async restoreShards(): Promise<void> {
    await this.#run(
      (sql) => sql`
      INSERT INTO spillway.leases (shard, owner, epoch, expires_at)
      SELECT missing.shard, ${nobody}::text::uuid, (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
             clock_timestamp() + ${this.#lease}::text::interval
      FROM generate_series(0, ${shardCount - 1}::int) AS missing(shard)
      WHERE NOT EXISTS (SELECT FROM spillway.leases l WHERE l.shard = missing.shard)
      ON CONFLICT DO NOTHING`,
    )
  }

  get #lease(): string {
    return `${this.#leaseMs} milliseconds`
  }

  #named({ shard, epoch }: LeaseRow): LeaseName {
    return { shard, epoch, owner: this.#replica.id }
  }
}

/** As it stands in the database; not renewed where somebody has locked it. */
export interface RenewedLease extends LeaseName {
  readonly isRenewed: boolean
}

interface LeaseRow {
  readonly shard: number
  readonly epoch: string
}

/** Live replicas, the longest running one first. */
export async function findReplicas(sql: Sql): Promise<{ host: string; shards: number }[]> {
  return sql<{ host: string; shards: number }[]>`
    SELECT r.host, (SELECT count(*)::int FROM spillway.leases l
                    WHERE l.owner = r.id AND l.expires_at > clock_timestamp()) AS shards
    FROM spillway.replicas r WHERE r.expires_at > clock_timestamp() ORDER BY r.started_at`
}
