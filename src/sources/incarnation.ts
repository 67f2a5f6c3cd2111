/**
 * Which server, table and sequence a source is read from. While all of them are the same, positions keep
 * their meaning; when one is another, rewind.ts looks closer.
 */
import { errorCode } from '../db/availability.ts'
import type { SourceSql } from '../db/client.ts'
import type { Sequence } from './sequences.ts'

export interface Incarnation {
  /** The cluster's system identifier: a copy made by dump and restore has another one. */
  readonly cluster: string
  /**
   * Cluster, timeline (a restore to a point in time and a failover begin a new one), start of the server (a crash
   * loses what was committed asynchronously), table and sequence.
   */
  readonly incarnation: string
}

export async function readIncarnation(
  sql: SourceSql,
  relation: string,
  sequences: readonly Sequence[],
): Promise<Incarnation> {
  const [row] = await sql.query<{ cluster: string; started: string }>(
    'SELECT system_identifier AS cluster, extract(epoch FROM pg_postmaster_start_time()) AS started FROM pg_control_system()',
  )
  const cluster = row?.cluster ?? ''
  const started = row?.started ?? ''
  const files = sequences.map(({ oid, file }) => `${oid}:${file}`)
  return { cluster, incarnation: [cluster, await timeline(sql), started, relation, ...files].join('/') }
}

/** Some hosted servers keep the write-ahead log's functions to themselves; the last checkpoint says it later. */
async function timeline(sql: SourceSql): Promise<string> {
  try {
    const [row] = await sql.query<{ timeline: string }>(
      'SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) AS timeline',
    )
    return row?.timeline ?? ''
  } catch (error) {
    if (!refusals.has(errorCode(error) ?? '')) throw error
    const [row] = await sql.query<{ timeline: string }>(
      `SELECT lpad(to_hex(timeline_id), 8, '0') AS timeline FROM pg_control_checkpoint()`,
    )
    return (row?.timeline ?? '').toUpperCase()
  }
}

/** Insufficient privilege, feature not supported, object not in prerequisite state. */
const refusals = new Set(['42501', '0A000', '55000'])
