/** All checks, one after the other; what one of them cannot do keeps none of the others from its work. */
import { sleep } from '../../clock.ts'
import type { SourceDefinition } from '../../sources/source.ts'
import { checkAge } from './checks/age.ts'
import { checkClocks } from './checks/clock.ts'
import { checkDaemon } from './checks/daemon.ts'
import { checkDestinations } from './checks/destinations.ts'
import { checkIds } from './checks/ids.ts'
import { checkIndexes } from './checks/index.ts'
import { checkLocks } from './checks/locks.ts'
import { checkStatePrivileges, checkTriggerPrivileges } from './checks/privileges.ts'
import { checkPooler, checkServer } from './checks/server.ts'
import { checkRewind, failed, resolve } from './checks/source.ts'
import { checkTimestamps } from './checks/timestamps.ts'
import { checkTransactions } from './checks/transactions.ts'
import { checkUse } from './checks/use.ts'
import { checkXact } from './checks/xact.ts'
import type { Finding, Subject } from './finding.ts'
import type { FoundSource, Patient } from './patient.ts'

type Check = readonly [name: string, subject: Subject, work: () => Promise<readonly Finding[]>]

const ofSource = [
  ['the indexes', checkIndexes],
  ['the ids', checkIds],
  ['the xact column', checkXact],
  ['the timestamps', checkTimestamps],
  ["the triggers' privileges", checkTriggerPrivileges],
] as const

/** Problems of a server for which the daemon reads none of its tables. */
const refusing = new Set<string>(['server.standby', 'server.version', 'server.encoding'])

/** Without `sources` only what concerns Spillway's own tables, because the audit tables cannot be reached. */
export async function examine(patient: Patient, sources: boolean): Promise<Finding[]> {
  const { state, source, definitions } = patient
  const run = runner(patient.limits.checkMs)
  const findings: Finding[] = []
  const databases = source === state || !sources ? [state] : [state, source]
  for (const database of databases) {
    findings.push(
      ...(await run([
        'the server',
        database.subject,
        () => checkServer(database, sources && database === source),
      ])),
      ...(await run(['the way to the server', database.subject, () => checkPooler(database)])),
    )
  }
  findings.push(
    ...(await run(['the daemon', state.subject, () => checkDaemon(patient)])),
    ...(await run(["Spillway's own tables", state.subject, () => checkStatePrivileges(patient)])),
    ...(await run(['the destinations', state.subject, () => checkDestinations(patient)])),
  )
  if (!sources) return findings
  findings.push(...(await run(['the clocks', state.subject, () => checkClocks(patient)])))
  // It is refused as a whole, not once for each source.
  const refused = findings.some(
    ({ code, severity, subject }) =>
      severity === 'problem' && refusing.has(code) && subject === source.subject,
  )
  const locked = new Set<string>()
  findings.push(...(await run(['locked tables', source.subject, () => checkLocks(patient, locked)])))
  const found: FoundSource[] = []
  for (const definition of definitions) {
    if (locked.has(definition.logType)) continue
    const subject: Subject = { kind: 'source', name: definition.logType }
    findings.push(...(await run(['its use', subject, () => checkUse(patient, definition, subject)])))
    if (!definition.enabled || refused) continue
    const lookUp = () => findSource(patient, definition, subject, found)
    findings.push(...(await run(['the source', subject, lookUp])))
  }
  findings.push(
    ...(await run(['open transactions', source.subject, () => checkTransactions(patient, found)])),
  )
  for (const each of found) {
    const { subject } = each
    findings.push(...(await run(['its past', subject, () => checkRewind(patient, each)])))
    for (const [name, check] of ofSource) {
      findings.push(...(await run([name, subject, () => check(patient, each)])))
    }
  }
  findings.push(...(await run(['the age of events', source.subject, () => checkAge(patient, found)])))
  return findings
}

async function findSource(
  patient: Patient,
  definition: SourceDefinition,
  subject: Subject,
  found: FoundSource[],
): Promise<readonly Finding[]> {
  const resolved = await resolve(patient, definition, subject)
  if ('findings' in resolved) return resolved.findings
  found.push({ source: resolved.source, subject })
  return []
}

function runner(timeoutMs: number) {
  return async ([name, subject, work]: Check): Promise<readonly Finding[]> => {
    const done = new AbortController()
    const tooLong = sleep(timeoutMs, done.signal).then(() => {
      throw new Error(`no answer within ${Math.round(timeoutMs / 1_000)} s; is the table locked?`)
    })
    const working = work()
    try {
      return await Promise.race([working, tooLong])
    } catch (error) {
      // Whatever comes of it later, it has been given up.
      working.catch(() => {})
      return [failed(name, subject, error)]
    } finally {
      tooLong.catch(() => {})
      done.abort()
    }
  }
}
