/** The patient: connections, sources and destinations of a session, as the daemon would have them. */
import type { Sql } from '../../db/client.ts'
import type { DestinationRow } from '../../destinations/destination.ts'
import type { SourceDefinition } from '../../sources/source.ts'
import { CommandError } from '../command.ts'
import { readRules } from '../destinations/rules.ts'
import { type Session, withSession } from '../session.ts'
import { examine } from './examine.ts'
import { type Finding, problem, type Subject } from './finding.ts'
import { type Database, type DestinationState, defaultLimits, type Limits, type Patient } from './patient.ts'

export interface Diagnosis {
  readonly findings: readonly Finding[]
  readonly definitions: readonly SourceDefinition[]
  readonly destinations: readonly DestinationState[]
}

/** Throws as `withSession` does: without Spillway's own tables there is nothing to be examined. */
export function diagnose(env: NodeJS.ProcessEnv, limits: Partial<Limits> = {}): Promise<Diagnosis> {
  return withSession(env, async (session) => {
    const { config, sql, isPooled } = session
    const separate = config.sourceDatabaseUrl !== undefined
    const state: Database = {
      sql,
      subject: server(separate ? 'state database' : 'database'),
      isPooled: isPooled.state,
    }
    const definitions = await readDefinitions(sql)
    const destinations = await readDestinations(sql)
    const patient = {
      config,
      limits: { ...defaultLimits, ...limits },
      state,
      definitions,
      destinations,
      rules: await readRules(sql, config),
    }
    const sourceSubject = separate ? server('source database') : state.subject
    const reached = await reach(session, sourceSubject)
    if ('unreachable' in reached) {
      const rest = await examine({ ...patient, source: state, sourceSql: unusable }, false)
      return { findings: [reached.unreachable, ...rest], definitions, destinations }
    }
    const source: Database = separate
      ? { sql: reached.plain, subject: sourceSubject, isPooled: isPooled.source }
      : state
    const findings = await examine({ ...patient, source, sourceSql: reached.sql }, true)
    return { findings, definitions, destinations }
  })
}

function server(name: string): Subject {
  return { kind: 'server', name }
}

/** The state database answers already; another one need not. */
async function reach(session: Session, subject: Subject) {
  try {
    // Numbers come as numbers over `plain`, where `sql` gives PostgreSQL's texts. Nothing is written.
    return { sql: await session.source(), plain: await session.writableSource() }
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error)
    const remedy = error instanceof CommandError ? error.hint : 'Mend what it says.'
    return { unreachable: problem('server.unreachable', subject, said, remedy) }
  }
}

const unusable: Patient['sourceSql'] = {
  query: () => Promise.reject(new Error('the source database cannot be reached')),
  each: () => Promise.reject(new Error('the source database cannot be reached')),
  end: async () => {},
}

async function readDefinitions(sql: Sql): Promise<SourceDefinition[]> {
  const rows = await sql<{ definition: string }[]>`
    SELECT json_build_object(
      'logType', log_type, 'relation', relation, 'idColumn', id_column, 'orgColumn', org_column,
      'timestampColumn', timestamp_column, 'ordering', ordering,
      'xactColumn', CASE WHEN ordering = 'xact' THEN xact_column END, 'revision', changed_xid::text,
      'excludeColumns', exclude_columns, 'enabled', enabled)::text AS definition
    FROM spillway.sources ORDER BY log_type`
  // PostgreSQL built this text in the same statement.
  return rows.map(({ definition }) => JSON.parse(definition) as SourceDefinition)
}

async function readDestinations(sql: Sql): Promise<DestinationState[]> {
  const rows = await sql<StateRow[]>`
    SELECT json_build_object(
             'id', d.id, 'orgId', d.org_id, 'name', d.name, 'type', d.type, 'config', d.config,
             'logTypes', d.log_types, 'enabled', d.enabled, 'startFrom', d.start_from, 'filter', d.filter,
             'redaction', d.redaction, 'delivery', d.delivery,
             'createdAt', (extract(epoch FROM d.created_at) * 1000)::float8, 'revision', d.version || '/' || d.changed_xid)::text AS row,
           s.status, s.last_error,
           (extract(epoch FROM now() - s.first_failed_at) * 1000)::float8 AS failing_for_ms,
           (extract(epoch FROM now() - s.disabled_at) * 1000)::float8 AS disabled_for_ms
    FROM spillway.destinations d JOIN spillway.delivery_state s ON s.destination_id = d.id ORDER BY d.id`
  return rows.map(({ row, status, last_error, failing_for_ms, disabled_for_ms }) => ({
    row: JSON.parse(row) as DestinationRow,
    status,
    lastError: last_error,
    failingForMs: failing_for_ms,
    disabledForMs: disabled_for_ms,
  }))
}

interface StateRow {
  readonly row: string
  readonly status: string
  readonly last_error: string | null
  readonly failing_for_ms: number | null
  readonly disabled_for_ms: number | null
}
