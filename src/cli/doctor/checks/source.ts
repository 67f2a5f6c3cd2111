/** Whether a source can be read at all, as the daemon would, and whether it is what it was. */
import { errorCode } from '../../../db/availability.ts'
import { SourceError, SourceRewoundError } from '../../../errors.ts'
import { follow } from '../../../sources/follower.ts'
import { HorizonStore } from '../../../sources/horizon-store.ts'
import { Reader } from '../../../sources/reader.ts'
import type { Source, SourceDefinition } from '../../../sources/source.ts'
import { probeSource } from '../../sources/probe.ts'
import type { HazardCode } from '../codes.ts'
import { type Finding, fine, type Hazardous, problem, type Subject, warning } from '../finding.ts'
import type { FoundSource, Patient } from '../patient.ts'
import { builtIn } from './use.ts'

/** By what the refusal says; the tests produce each of them. The first that fits. */
const causes: readonly (readonly [RegExp, HazardCode])[] = [
  [/row-level security/, 'privileges.row_security'],
  [/permission denied/, 'privileges.source'],
  [/no relation|no name of a relation/, 'source.missing'],
  [/is no table/, 'source.not_a_table'],
  [/has no column|timestamp_column .* is of type/, 'source.columns'],
  [/has no rising order/, 'ids.type'],
  [/logical replication/, 'source.replicated'],
  [/has CACHE/, 'sequence.cache'],
  [/does not rise/, 'sequence.direction'],
  [/\(CYCLE\)/, 'sequence.cycle'],
  [/more than one sequence/, 'sequence.several'],
  [/does not track/, 'sequence.untracked'],
  [/is NULL, which have no place/, 'ids.null'],
  [/xact_column/, 'xact.column'],
]

export type Resolved = { readonly source: Source } | { readonly findings: readonly Finding[] }

/** The source, or why the daemon refuses it. */
export async function resolve(
  patient: Patient,
  definition: SourceDefinition,
  subject: Subject,
): Promise<Resolved> {
  try {
    return { source: await probeSource(patient.sourceSql, definition) }
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    const finding = refusal(error, subject)
    if (finding.code === 'source.missing' && isUnwanted(patient, definition)) {
      const message = `${definition.relation} is not in this database, and no destination wants its rows.`
      return { findings: [fine('source', subject, message)] }
    }
    const remedy = await grants(patient, definition, finding.code)
    return { findings: [remedy === undefined ? finding : { ...finding, remedy }] }
  }
}

export function refusal(error: SourceError, subject: Subject): Hazardous {
  const code = causes.find(([pattern]) => pattern.test(error.message))?.[1] ?? 'source.refused'
  // The subject is named beside the message.
  const message = error.message.replace(/^source [^:]*: /, '')
  return problem(code, subject, message, error.hint)
}

/** Spillway's own tables are registered also where the audit tables are in a database without them. */
function isUnwanted({ state, source, destinations }: Patient, { logType, relation }: SourceDefinition) {
  const isUsed = destinations.some(({ row }) => row.logTypes.includes(logType))
  return state !== source && builtIn.has(relation) && !isUsed
}

/** What would let this role read the table; undefined where something else is in the way. */
async function grants(
  { source: { sql } }: Patient,
  { relation }: SourceDefinition,
  code: HazardCode,
): Promise<string | undefined> {
  if (code !== 'privileges.source' && code !== 'privileges.row_security') return undefined
  const [row] = await sql<{ role: string; schema: string | null }[]>`
    SELECT quote_ident(current_user) AS role,
           (SELECT quote_ident(name[1]) FROM parse_ident(${relation}) AS name WHERE cardinality(name) = 2) AS schema`
  if (code === 'privileges.row_security') {
    return `ALTER ROLE ${row?.role} BYPASSRLS; or a policy that shows it every row, with a role of its own.`
  }
  const usage = row?.schema ? `GRANT USAGE ON SCHEMA ${row.schema} TO ${row.role}; ` : ''
  return `${usage}GRANT SELECT ON ${relation} TO ${row?.role};`
}

/** Whether it went back in time since the daemon last looked. */
export async function checkRewind(
  { state, sourceSql }: Patient,
  { source, subject }: FoundSource,
): Promise<Finding[]> {
  const { logType, ordering, relation } = source.definition
  const memory = await new HorizonStore(state.sql).recall(source.definition)
  const rebase = `spillway sources rebase ${logType}`
  const before = memory.trace?.cluster
  if (memory.cursor !== undefined && before !== undefined && before !== source.cluster) {
    const says = `It is in another cluster (system identifier ${source.cluster}) than when it was last read (${before})`
    if (ordering === 'xact') {
      const message = `${says}, where transactions have other numbers: rows may be passed over, so nothing is read.`
      return [problem('source.other_cluster', subject, message, rebase)]
    }
    const gone = await rewound(sourceSql, source, memory)
    if (gone !== undefined) return [problem('source.rewound', subject, gone, rebase)]
    const message = `${says}. Its ids go on; destinations that are new may miss rows that were open when they were made.`
    return [warning('source.other_cluster', subject, message, rebase)]
  }
  const gone = await rewound(sourceSql, source, memory)
  if (gone !== undefined) return [problem('source.rewound', subject, gone, rebase)]
  return [fine('source', subject, `${relation} can be read, fenced by ${fences[source.fence]}.`)]
}

const fences = {
  sequence: "its ids' sequence",
  table: 'locks on the table',
  snapshot: "its transactions' numbers",
}

async function rewound(
  sql: Patient['sourceSql'],
  source: Source,
  memory: Awaited<ReturnType<HorizonStore['recall']>>,
): Promise<string | undefined> {
  try {
    await follow({ sql, source, reader: new Reader(sql, source), memory }).look(true)
    return undefined
  } catch (error) {
    if (!(error instanceof SourceRewoundError)) throw error
    return error.message
  }
}

/** A check's own error, as a finding. */
export function failed(check: string, subject: Subject, error: unknown): Finding {
  const said = error instanceof Error ? error.message : String(error)
  const remedy =
    errorCode(error) === '42501'
      ? 'Grant the role what the message names; the check is then made.'
      : 'Run `spillway doctor` again; if it stays, report it with this line.'
  return warning('check.failed', subject, `The check of ${check} could not be made: ${said}`, remedy)
}
