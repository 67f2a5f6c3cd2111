/** Leases in the hands of a test, for what writes under them. */
import { randomUUID } from 'node:crypto'
import type postgres from 'postgres'
import type { Lease } from '../../src/delivery/lease.ts'

/** Takes the lease of a shard for a minute, whoever has it. */
export async function holdLease(sql: postgres.Sql, shard: number): Promise<Lease> {
  const owner = randomUUID()
  const [row] = await sql<{ epoch: string }[]>`
    UPDATE spillway.leases SET owner = ${owner}, epoch = epoch + 1, expires_at = now() + interval '1 minute'
    WHERE shard = ${shard} RETURNING epoch::text AS epoch`
  if (!row) throw new Error(`there is no shard ${shard}`)
  return { shard, owner, epoch: row.epoch, isHeld: true }
}

/** That of a destination's shard. */
export async function holdLeaseOf(sql: postgres.Sql, destinationId: number): Promise<Lease> {
  const [row] = await sql<{ shard: number }[]>`SELECT spillway.shard_of(${destinationId}) AS shard`
  return holdLease(sql, row?.shard ?? -1)
}
