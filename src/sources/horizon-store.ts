/** How far the sources were read, for a new cursor and for a new run of the daemon. */
import type { Sql } from '../db/client.ts'
import type { Floor } from './floors.ts'
import { laterOf, type Position } from './position.ts'
import type { Memory, Trace } from './rewind.ts'
import type { SourceDefinition } from './source.ts'

export class HorizonStore {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  async recall({ logType }: Pick<SourceDefinition, 'logType'>): Promise<Memory> {
    const [row] = await this.#sql<
      { horizon: string | null; trace: string | null; ends: string | null }[]
    >`SELECT (SELECT horizon FROM spillway.source_state WHERE log_type = ${logType}) AS horizon,
             (SELECT trace::text FROM spillway.source_state WHERE log_type = ${logType}) AS trace,
             (SELECT json_agg(coalesce(frozen[cardinality(frozen)], position))::text
              FROM spillway.cursors WHERE log_type = ${logType}) AS ends`
    // Both texts are PostgreSQL's, of what this program stored.
    const ends = JSON.parse(row?.ends ?? '[]') as Position[]
    const trace = JSON.parse(row?.trace ?? 'null') as Trace | null
    return {
      horizon: row?.horizon ?? undefined,
      trace: trace ?? undefined,
      cursor: ends.length === 0 ? undefined : ends.reduce(laterOf),
    }
  }

  /**
   * May be lost with the database's power: an older horizon is a horizon too. Not written when the source
   * has been pointed elsewhere or rebased meanwhile.
   */
  async remember(
    { logType, relation, idColumn, ordering, revision }: SourceDefinition,
    horizon: Position,
    trace: Trace,
  ): Promise<void> {
    await this.#sql`
      INSERT INTO spillway.source_state (log_type, horizon, trace)
      SELECT log_type, ${horizon}::text, ${JSON.stringify(trace)}::text::jsonb FROM spillway.sources
      WHERE log_type = ${logType}::text AND relation = ${relation} AND id_column = ${idColumn} AND ordering = ${ordering}
        AND changed_xid::text = ${revision}
        AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
      ON CONFLICT (log_type) DO UPDATE SET horizon = excluded.horizon, trace = excluded.trace, updated_at = now()`
  }

  /** What a former run stored, for all sources. */
  async floors(): Promise<Map<string, Floor>> {
    const rows = await this.#sql<{ log_type: string; horizon: string; saved_at: number }[]>`
      SELECT log_type, horizon, (extract(epoch FROM updated_at) * 1000)::float8 AS saved_at
      FROM spillway.source_state`
    return new Map(
      rows.map(({ log_type, horizon, saved_at }) => [
        log_type,
        { position: horizon, savedAt: saved_at, life: 0 },
      ]),
    )
  }

  /** Tells the triggers whether they can look at the audit tables. */
  async saveSeparateSource(separate: boolean): Promise<void> {
    await this.#sql`SELECT spillway.set_separate_source(${separate})`
  }
}
