/** What the demo consists of: three orgs, four audit tables, three destinations, and settings that show much in little time. */
import type { Config } from '../../config.ts'
import { parseConfig } from '../../config.ts'

export const orgs = ['acme', 'globex', 'initech'] as const
export const logTypes = ['request', 'action', 'access', 'connection'] as const
export type LogType = (typeof logTypes)[number]

/** A committed row of an audit table, as far as the accounting needs to know it. */
export interface AuditRow {
  readonly logType: LogType
  readonly id: number
  readonly org: string
}

export interface PlannedDestination {
  readonly name: string
  /** Where the receiver takes its events. */
  readonly path: string
  /** Null: every org's, the operator's own. */
  readonly org: string | null
  readonly logTypes: readonly LogType[]
  readonly format: 'json_array' | 'ndjson'
  readonly gzip: boolean
  /** Its endpoint goes down now and then. */
  readonly flaky: boolean
}

/** Each of another kind; `initech` has no destination, so that only the operator's may get its rows. */
export const plannedDestinations: readonly PlannedDestination[] = [
  {
    name: 'acme webhook',
    path: '/acme',
    org: 'acme',
    logTypes,
    format: 'json_array',
    gzip: false,
    flaky: false,
  },
  {
    name: 'globex siem',
    path: '/globex',
    org: 'globex',
    logTypes: ['action', 'access', 'connection'],
    format: 'ndjson',
    gzip: true,
    flaky: true,
  },
  {
    name: 'operator archive',
    path: '/archive',
    org: null,
    logTypes,
    format: 'json_array',
    gzip: true,
    flaky: false,
  },
]

/** Spillway and the naive reader beside it look for rows equally often. */
export const pollIntervalMs = 250

/** Only these settings hold, and `LOG_LEVEL`: whatever else is in the environment is for a real daemon. */
export function demoConfig(databaseUrl: string, env: NodeJS.ProcessEnv): Config {
  return parseConfig({
    DATABASE_URL: databaseUrl,
    SPILLWAY_HTTP_PORT: '0',
    SPILLWAY_EGRESS_ALLOW: '127.0.0.1',
    SPILLWAY_POLL_INTERVAL_MS: String(pollIntervalMs),
    SPILLWAY_BATCH_SIZE: '50',
    SPILLWAY_INTER_BATCH_DELAY_MS: '20',
    // Minutes in production; here back-off and recovery must be seen within seconds.
    SPILLWAY_BACKOFF_SCHEDULE_MS: '1000,1500,2000',
    LOG_LEVEL: env.LOG_LEVEL ?? 'info',
  })
}
