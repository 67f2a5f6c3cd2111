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
  readonly excludeColumns: readonly string[]
  readonly enabled: boolean
}

export interface Source {
  readonly definition: SourceDefinition
  /** The relation's name, safe to put into SQL. */
  readonly relation: string
  /** What the database was like when it was looked up (`fingerprintExpression`). */
  readonly fingerprint: string
  readonly allColumns: readonly Column[]
  /** What the events carry, in the table's order: all but the excluded ones. */
  readonly columns: readonly Column[]
  /** OIDs whose RowExclusiveLock fences the ids: the id's sequences, else the table and what inherits from it. */
  readonly fenceRelations: readonly string[]
  readonly fence: 'sequence' | 'table'
}

export function sameDefinition(a: SourceDefinition, b: SourceDefinition): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
