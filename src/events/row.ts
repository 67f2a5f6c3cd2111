/**
 * Row → event. A `RowShape` is made once per source: which columns to select, and how to read one row's
 * text values (in that order) as an event.
 */
import type { AuditEvent } from '../../providers/provider.ts'
import { type Column, jsonOf } from './columns.ts'
import { instantOf } from './timestamp.ts'

export interface RowShapeOptions {
  readonly logType: string
  /** The columns that become `data`, in their order. */
  readonly columns: readonly Column[]
  readonly id: Column
  readonly org: Column | undefined
  readonly timestamp: Column
}

export type RowValues = readonly (string | null)[]

export interface RowShape {
  /** Everything to select: the data's columns, then the id, org and timestamp that are not among them. */
  readonly selected: readonly Column[]
  /** Whether the column at an index tells which event it is: its id, its org or its time. */
  identifies(index: number): boolean
  idOf(values: RowValues): string
  toEvent(values: RowValues): AuditEvent
}

/** For a row without a timestamp, or with one that ISO 8601 cannot say: it must be the same at every reading. */
const noTimestamp = '1970-01-01T00:00:00Z'

/** A class, because an object literal with a getter is slow to make. */
class RowEvent implements AuditEvent {
  readonly id: string
  readonly logType: string
  readonly timestamp: string
  readonly orgId: string | null
  readonly dataJson: string

  constructor(logType: string, rowId: string, timestamp: string, orgId: string | null, dataJson: string) {
    this.id = `${logType}:${rowId}`
    this.logType = logType
    this.timestamp = timestamp
    this.orgId = orgId
    this.dataJson = dataJson
  }

  /** Worked out when it is asked for: few destinations do. */
  get timestampMs(): number {
    return Date.parse(this.timestamp) || 0
  }
}

export function rowShape({ logType, columns, id, org, timestamp }: RowShapeOptions): RowShape {
  const selected = [...columns]
  const place = (column: Column) => {
    const found = selected.findIndex(({ name }) => name === column.name)
    return found >= 0 ? found : selected.push(column) - 1
  }
  const idAt = place(id)
  const orgAt = org ? place(org) : undefined
  const timestampAt = place(timestamp)
  const fields = columns.map((column, index) => ({
    key: `${index === 0 ? '' : ','}${JSON.stringify(column.name)}:`,
    toJson: jsonOf(column),
  }))
  const toInstant = instantOf(timestamp.type)
  const idOf = (values: RowValues) => values[idAt] ?? ''
  return {
    selected,
    identifies: (index) => index === idAt || index === orgAt || index === timestampAt,
    idOf,
    toEvent(values) {
      let data = '{'
      for (let index = 0; index < fields.length; index++) {
        const field = fields[index]
        const value = values[index]
        if (field) data += field.key + (value === null || value === undefined ? 'null' : field.toJson(value))
      }
      const at = values[timestampAt]
      const iso = (at && toInstant(at)) || noTimestamp
      const org = orgAt === undefined ? null : (values[orgAt] ?? null)
      return new RowEvent(logType, idOf(values), iso, org, `${data}}`)
    },
  }
}
