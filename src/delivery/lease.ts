/**
 * The right to deliver to the destinations of a shard. Whoever delivers looks before each request and each write
 * whether it is still theirs by their own clock, and each write names owner and epoch, so that PostgreSQL refuses
 * one that comes too late all the same (I3).
 */
import type { HttpClient } from '../../providers/provider.ts'
import type { Availability } from '../db/availability.ts'
import type { Sql } from '../db/client.ts'
import { LeaseLostError } from '../errors.ts'

export interface LeaseName {
  readonly shard: number
  /** The replica that holds it. */
  readonly owner: string
  readonly epoch: string
}

export interface Lease extends LeaseName {
  /** False from the moment when another replica may have it. */
  readonly isHeld: boolean
}

/** As `Availability.retry`, for a write: rejects with `LeaseLostError` once the lease is not held any more. */
export function retryHeld<T>(
  availability: Pick<Availability, 'retry'>,
  lease: Lease,
  write: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  return availability.retry(() => {
    if (!lease.isHeld) throw lost(lease)
    return write()
  }, signal)
}

function lost({ shard, epoch }: LeaseName): LeaseLostError {
  return new LeaseLostError(`the lease of shard ${shard} (epoch ${epoch}) has ended`)
}

/**
 * True, and from then on the transaction waits for no lock longer than this. Whoever locks a row of one destination would
 * otherwise keep its whole shard where it is (I6): a hand-over waits for such a write, and so does a takeover after a kill,
 * since the server goes on with the statement of a client that is gone.
 */
export function impatiently(sql: Sql) {
  return sql`(SELECT set_config('lock_timeout', '1s', true)) IS NOT NULL`
}

/**
 * A subquery with one row while the lease is held, and none otherwise. The lock keeps another replica from taking
 * the lease before this transaction has ended; a renewal does not wait for it.
 */
export function heldRow(sql: Sql, { shard, owner, epoch }: LeaseName) {
  return sql`
    SELECT shard FROM spillway.leases
    WHERE shard = ${shard}::smallint AND owner = ${owner}::text::uuid AND epoch = ${epoch}::text::bigint
      AND expires_at > clock_timestamp() AND ${impatiently(sql)} FOR KEY SHARE`
}

/** As `heldRow`, for several. */
export function heldRows(sql: Sql, leases: readonly LeaseName[]) {
  const names = JSON.stringify(leases.map(({ shard, owner, epoch }) => ({ shard, owner, epoch })))
  return sql`
    SELECT l.shard, l.epoch FROM spillway.leases l
    JOIN jsonb_to_recordset(${names}::text::jsonb) AS h(shard smallint, owner uuid, epoch bigint)
      ON h.shard = l.shard AND h.owner = l.owner AND h.epoch = l.epoch
    WHERE l.expires_at > clock_timestamp() AND ${impatiently(sql)} FOR KEY SHARE OF l`
}

/** Makes clients whose requests end with what `refusal` says, when it says something in the moment before they are sent. */
export interface PermittingHttp {
  permitting(refusal: () => Error | undefined): HttpClient
}

/** A client that sends nothing without the lease. */
export function underLease(http: PermittingHttp, lease: Lease): HttpClient {
  return http.permitting(() => (lease.isHeld ? undefined : lost(lease)))
}
