/** What the checks are given: the connections, as the daemon has them, and what counts as too much. */
import type { Config } from '../../config.ts'
import type { SourceSql, Sql } from '../../db/client.ts'
import type { DestinationRow, DestinationRules } from '../../destinations/destination.ts'
import type { Source, SourceDefinition } from '../../sources/source.ts'
import type { Subject } from './finding.ts'

export interface Patient {
  readonly config: Config
  readonly limits: Limits
  readonly state: Database
  /** The same as `state` where the audit tables are in the same database. */
  readonly source: Database
  /** The audit tables, with the settings with which the daemon reads them. */
  readonly sourceSql: SourceSql
  readonly definitions: readonly SourceDefinition[]
  readonly destinations: readonly DestinationState[]
  readonly rules: DestinationRules
}

/** One of the two databases. */
export interface Database {
  readonly sql: Sql
  readonly subject: Subject
  isPooled(): Promise<boolean>
}

export interface DestinationState {
  readonly row: DestinationRow
  readonly status: string
  readonly failingForMs: number | null
  readonly disabledForMs: number | null
  readonly lastError: string | null
}

/** A source that could be looked up. */
export interface FoundSource {
  readonly source: Source
  readonly subject: Subject
}

export interface Limits {
  /** A session that is idle in a transaction. */
  readonly idleMs: number
  /** A transaction that works. */
  readonly longMs: number
  readonly preparedMs: number
  /** Between two looks at a session of which only its locks can be seen. */
  readonly lookAgainMs: number
  readonly skewMs: number
  /** Timestamps that fall while ids rise. */
  readonly stepMs: number
  readonly futureMs: number
  /** The last rows by id that are looked at. */
  readonly sampleRows: number
  /** Of an age limit. */
  readonly nearShare: number
  /** From here on a missing index is a problem. */
  readonly largeRows: number
  /** One check. */
  readonly checkMs: number
}

export const defaultLimits: Limits = {
  idleMs: 10_000,
  longMs: 300_000,
  preparedMs: 300_000,
  lookAgainMs: 1_000,
  skewMs: 2_000,
  stepMs: 60_000,
  futureMs: 300_000,
  sampleRows: 1_000,
  nearShare: 0.75,
  largeRows: 1_000_000,
  checkMs: 30_000,
}
