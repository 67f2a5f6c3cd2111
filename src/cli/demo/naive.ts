/**
 * What Spillway is not: a reader that polls `WHERE id > cursor ORDER BY id`. It runs beside Spillway under
 * the same writers and as often, and shows what such a reader loses. A row is lost when the cursor has
 * passed it without having seen it: the reader never looks back.
 */
import { sleep } from '../../clock.ts'
import type { Sql } from '../../db/client.ts'
import { type AuditRow, type LogType, logTypes } from './plan.ts'

interface Progress {
  cursor: number
  /** Committed, beyond the cursor. */
  readonly ahead: Set<number>
  /** Seen before the writer's own confirmation has come. */
  readonly unconfirmed: Set<number>
}

export class NaiveReader {
  readonly #sql: Sql
  readonly #progress = new Map<LogType, Progress>()
  #written = 0
  #seen = 0
  #lost = 0

  constructor(sql: Sql) {
    this.#sql = sql
    for (const logType of logTypes) {
      this.#progress.set(logType, { cursor: 0, ahead: new Set(), unconfirmed: new Set() })
    }
  }

  get written(): number {
    return this.#written
  }

  get seen(): number {
    return this.#seen
  }

  get lost(): number {
    return this.#lost
  }

  committed({ logType, id }: AuditRow): void {
    const progress = this.#progress.get(logType)
    if (!progress) return
    this.#written += 1
    if (progress.unconfirmed.delete(id)) this.#seen += 1
    else if (id <= progress.cursor) this.#lost += 1
    else progress.ahead.add(id)
  }

  async run(intervalMs: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.poll()
      await sleep(intervalMs, signal)
    }
  }

  async poll(): Promise<void> {
    for (const [logType, progress] of this.#progress) {
      const rows = await this.#sql<{ id: string }[]>`
        SELECT id FROM ${this.#sql(`spillway.${logType}_audit_log`)}
        WHERE id > ${progress.cursor} ORDER BY id`
      this.#take(
        progress,
        rows.map(({ id }) => Number(id)),
      )
    }
  }

  #take(progress: Progress, ids: readonly number[]): void {
    for (const id of ids) {
      if (progress.ahead.delete(id)) this.#seen += 1
      else progress.unconfirmed.add(id)
    }
    progress.cursor = ids.at(-1) ?? progress.cursor
    for (const id of progress.ahead) {
      if (id > progress.cursor) continue
      progress.ahead.delete(id)
      this.#lost += 1
    }
  }
}
