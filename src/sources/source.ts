/** A source as it is registered (`SourceDefinition`) and as it was found in the database (`Source`). */
import type { Column } from '../events/columns.ts'

export interface SourceDefinition {
  readonly logType: string
  /** As in SQL: schema-qualified and quoted where needed. */
  readonly relation: string
  readonly idColumn: string
  readonly orgColumn: string | null
  readonly timestampColumn: string
  readonly ordering: 'id' | 'xact'
  /** The column with the writing transaction; only with the ordering `xact`. */
  readonly xactColumn: string | null
  readonly excludeColumns: readonly string[]
  readonly enabled: boolean
  /** Changes with every write of the row; empty for one that is not registered. */
  readonly revision: string
}

/** What tells that no row can still appear: locks on the id's sequence or on the table, or the snapshot. */
export type Fence = 'sequence' | 'table' | 'snapshot'

/** A table that the source's rows are in. */
export interface Part {
  readonly oid: string
  /** Safe to put into SQL. */
  readonly name: string
}

export interface Source {
  readonly definition: SourceDefinition
  /** The relation's name, safe to put into SQL. */
  readonly relation: string
  /** What the database was like when it was looked up (`sourceFingerprint`). */
  readonly fingerprint: string
  /** What its columns were like (`columnsMark`). */
  readonly columnsMark: string
  /** The relations of the composites' attributes inside its columns, as OIDs. */
  readonly composites: readonly string[]
  /** System identifier of the cluster. */
  readonly cluster: string
  /**
   * Which server, table and sequence these are: positions of one incarnation may mean nothing in another
   * (rewind.ts).
   */
  readonly incarnation: string
  /** The table and its partitions, the table first. */
  readonly parts: readonly Part[]
  readonly allColumns: readonly Column[]
  /** What the events carry, in the table's order: all but the excluded ones. */
  readonly columns: readonly Column[]
  /** OIDs whose RowExclusiveLock fences the ids: the id's sequences, else the table and what inherits from it. */
  readonly fenceRelations: readonly string[]
  readonly fence: Fence
  /** OID of the sequence that feeds the ids, where there is one and this role may read it. */
  readonly readableSequence: string | undefined
  /** Whether an index leads in the source's order, so that its first and last rows are found at once. */
  readonly ordered: boolean
}

export function sameDefinition(a: SourceDefinition, b: SourceDefinition): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
