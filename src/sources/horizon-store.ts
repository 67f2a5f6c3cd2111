/** The stored horizons: what a new cursor and a new run of the daemon start from. */
import type { Sql } from '../db/client.ts'
import type { Position } from './position.ts'
import type { SourceDefinition } from './source.ts'

export class HorizonStore {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  async load(logType: string): Promise<Position | undefined> {
    const [row] = await this.#sql<{ horizon: string }[]>`
      SELECT horizon FROM spillway.source_state WHERE log_type = ${logType}`
    return row?.horizon
  }

  /**
   * May be lost with the database's power: an older horizon is a horizon too. Not written when the source
   * has been pointed elsewhere meanwhile.
   */
  async save({ logType, relation, idColumn }: SourceDefinition, horizon: Position): Promise<void> {
    await this.#sql`
      INSERT INTO spillway.source_state (log_type, horizon)
      SELECT log_type, ${horizon}::text FROM spillway.sources
      WHERE log_type = ${logType}::text AND relation = ${relation} AND id_column = ${idColumn} AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
      ON CONFLICT (log_type) DO UPDATE SET horizon = excluded.horizon, updated_at = now()`
  }

  /** Tells the triggers whether they can look at the audit tables. */
  async saveSeparateSource(separate: boolean): Promise<void> {
    await this
      .#sql`UPDATE spillway.settings SET separate_source = ${separate} WHERE separate_source <> ${separate}`
  }
}
