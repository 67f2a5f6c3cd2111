/**
 * What sources that stand still ask the database, beside the work of all of them: one question at a time, so
 * that however many stand still, their questions take no connection away from those that move.
 */
import type { SourceSql } from '../db/client.ts'
import { findHolders, type HolderQuestion, type Holders } from './holders.ts'
import type { Position } from './position.ts'
import type { Reader } from './reader.ts'
import type { Source } from './source.ts'

export interface Diagnosis {
  /** Who holds it back; undefined when nobody does any more. */
  holders(source: Source, question: HolderQuestion): Promise<Holders | undefined>
  /** Whether there are rows beyond a position; without an index this reads the table. */
  rowsWait(reader: Pick<Reader, 'hasRowsAfter'>, position: Position): Promise<boolean>
}

export class DatabaseDiagnosis implements Diagnosis {
  readonly #sql: SourceSql
  /** A table that is read in full must not keep those waiting who only ask the catalogue. */
  readonly #catalogue = new Turns()
  readonly #tables = new Turns()

  constructor(sql: SourceSql) {
    this.#sql = sql
  }

  holders(source: Source, question: HolderQuestion): Promise<Holders | undefined> {
    return this.#catalogue.take(() => findHolders(this.#sql, source, question))
  }

  rowsWait(reader: Pick<Reader, 'hasRowsAfter'>, position: Position): Promise<boolean> {
    return this.#tables.take(() => reader.hasRowsAfter(position))
  }
}

class Turns {
  #last: Promise<unknown> = Promise.resolve()

  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {})
    return turn
  }
}
