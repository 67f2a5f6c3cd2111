/**
 * A row of `spillway.destinations` → a `Destination` that cannot be wrong. Every bad field is named in one
 * `DestinationConfigError`; what this version does not know is refused, never ignored (I7).
 */
import {
  type Configured,
  DestinationConfigError,
  type DestinationType,
  type FieldProblem,
} from '../../providers/provider.ts'
import { type DeliverySettings, parseDeliverySettings } from './delivery-settings.ts'
import type { Vault } from './secrets.ts'

export interface DestinationRow {
  readonly id: number
  readonly orgId: string | null
  readonly name: string
  readonly type: string
  readonly config: unknown
  readonly logTypes: readonly string[]
  readonly enabled: boolean
  readonly startFrom: string
  readonly filter: unknown
  readonly redaction: unknown
  readonly delivery: unknown
  /** Epoch milliseconds. */
  readonly createdAt: number
  /** Names this state of this row: an edit changes it, and no other row ever had it. */
  readonly revision: string
}

export interface Destination {
  readonly id: number
  readonly orgId: string | null
  readonly name: string
  readonly type: string
  readonly logTypes: readonly string[]
  readonly startFrom: StartFrom
  readonly createdAt: number
  readonly revision: string
  readonly delivery: DeliverySettings
  readonly configured: Configured
}

export type StartFrom =
  | { readonly kind: 'now' }
  | { readonly kind: 'beginning' }
  | { readonly kind: 'instant'; readonly instant: string }

/** What a destination's row is judged against. */
export interface DestinationRules {
  readonly types: ReadonlyMap<string, DestinationType>
  /** Registered log types, and whether their events have a tenant. */
  readonly logTypes: ReadonlyMap<string, { readonly hasOrg: boolean }>
  readonly delivery: DeliverySettings
  /** Opens what is in its secret fields. */
  readonly vault: Vault
}

/** Throws `DestinationConfigError`. */
export function parseDestination(row: DestinationRow, rules: DestinationRules): Destination {
  const problems: FieldProblem[] = []
  const collect = <T>(parse: () => T): T | undefined => {
    try {
      return parse()
    } catch (error) {
      if (!(error instanceof DestinationConfigError)) throw error
      problems.push(...error.fields)
      return undefined
    }
  }
  problems.push(...logTypeProblems(row, rules))
  for (const field of ['filter', 'redaction'] as const) {
    if (row[field] === null) continue
    problems.push({ field, problem: 'is not known to this version; set it to NULL' })
  }
  const type = rules.types.get(row.type)
  if (!type) {
    problems.push({
      field: 'type',
      problem: `is not a known type; known: ${[...rules.types.keys()].join(', ')}`,
    })
  }
  const startFrom = collect(() => parseStartFrom(row.startFrom))
  const delivery = collect(() => parseDeliverySettings(row.delivery, rules.delivery))
  const configured = collect(() => type?.configure(row.config, rules.vault.of(row.id)))
  if (problems.length > 0 || !startFrom || !delivery || !configured) {
    throw new DestinationConfigError(problems)
  }
  const { id, orgId, name, logTypes, createdAt, revision } = row
  return {
    id,
    orgId,
    name,
    type: row.type,
    logTypes: [...new Set(logTypes)],
    startFrom,
    createdAt,
    revision,
    delivery,
    configured,
  }
}

function logTypeProblems(row: DestinationRow, rules: DestinationRules): FieldProblem[] {
  const known = [...rules.logTypes.keys()].join(', ')
  if (row.logTypes.length === 0) {
    return [{ field: 'log_types', problem: `is empty; name at least one of ${known}` }]
  }
  const problems: FieldProblem[] = []
  for (const logType of row.logTypes) {
    if (typeof logType !== 'string') {
      problems.push({ field: 'log_types', problem: 'holds a NULL; name a log type or leave it out' })
      continue
    }
    const source = rules.logTypes.get(logType)
    if (!source) {
      problems.push({
        field: 'log_types',
        problem: `"${logType.slice(0, 64)}" has no source; known: ${known}`,
      })
    } else if (row.orgId !== null && !source.hasOrg) {
      problems.push({
        field: 'log_types',
        problem: `the source of "${logType}" has no org_column, so its events cannot be told apart by tenant; only a destination with org_id NULL may have them`,
      })
    }
  }
  return problems
}

/** An ISO 8601 instant in its full form, in UTC; undefined for what is none. */
export function parseInstant(text: string): string | undefined {
  const [, day, time = 'T00:00:00', zone = 'Z'] = isoInstant.exec(text) ?? []
  const epochMs = Date.parse(`${day}${time}${zone}`)
  // Date.parse takes 30 February for 2 March.
  const isDay = day !== undefined && new Date(`${day}Z`).toJSON()?.startsWith(day)
  return isDay && !Number.isNaN(epochMs) ? new Date(epochMs).toISOString() : undefined
}

function parseStartFrom(text: string): StartFrom {
  if (text === 'now' || text === 'beginning') return { kind: text }
  const instant = parseInstant(text)
  if (instant !== undefined) return { kind: 'instant', instant }
  throw new DestinationConfigError([
    {
      field: 'start_from',
      problem: 'must be now, beginning or an ISO 8601 instant such as 2026-01-31T00:00:00Z',
    },
  ])
}

/** A date alone or with a time. Without a zone it is UTC, wherever the daemon runs; there is no year 0. */
const isoInstant =
  /^((?!0000)\d{4}-\d{2}-\d{2})(?:(T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(Z|[+-]\d{2}:?\d{2})?)?$/
