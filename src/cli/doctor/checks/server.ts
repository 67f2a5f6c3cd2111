/** The servers: primaries, reached directly, that keep what they commit. */
import { serverProblem } from '../../../db/server-version.ts'
import { type Finding, fine, problem, warning } from '../finding.ts'
import type { Database } from '../patient.ts'

interface Row {
  readonly standby: boolean
  readonly version: string
  readonly version_number: string
  readonly fsync: string
  readonly synchronous_commit: string
  readonly encoding: string
  readonly name: string
}

/** `holdsSources`: the audit tables are in this one. */
export async function checkServer({ sql, subject }: Database, holdsSources: boolean): Promise<Finding[]> {
  const [row] = await sql<Row[]>`
    SELECT pg_is_in_recovery() AS standby, current_setting('server_version') AS version,
           current_setting('server_version_num') AS version_number,
           current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('server_encoding') AS encoding, quote_ident(current_database()) AS name`
  if (!row) throw new Error('a statement without FROM returned no row')
  const findings: Finding[] = []
  const tooOld = serverProblem({ version: row.version, number: Number(row.version_number) })
  if (tooOld) findings.push(problem('server.version', subject, `${tooOld.message}.`, tooOld.hint))
  if (row.standby) {
    findings.push(
      problem(
        'server.standby',
        subject,
        'The server is a standby. Writers cannot be seen there and nothing can be stored; the daemon refuses it.',
        'Point the URL at the primary.',
      ),
    )
  } else findings.push(fine('server', subject, `It is a primary, PostgreSQL ${row.version}.`))
  if (row.fsync === 'off') {
    findings.push(
      warning(
        'server.fsync',
        subject,
        'fsync is off: after a crash of the machine the whole cluster may be unusable.',
        'ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();',
      ),
    )
  }
  if (row.synchronous_commit === 'off') {
    findings.push(
      warning(
        'server.synchronous_commit',
        subject,
        'synchronous_commit is off: a crash takes back rows that were committed and perhaps sent, and their ids come again.',
        `ALTER DATABASE ${row.name} SET synchronous_commit = on;`,
      ),
    )
  }
  if (row.encoding === 'SQL_ASCII') {
    const remedy =
      "pg_dump --encoding=…, then restore it into CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0;"
    const says = 'The encoding is SQL_ASCII, which does not say what the bytes of a text mean'
    findings.push(
      holdsSources
        ? problem('server.encoding', subject, `${says}; the daemon reads no audit table there.`, remedy)
        : warning('server.encoding', subject, `${says}; names and configs may arrive as others.`, remedy),
    )
  }
  return findings
}

export async function checkPooler({ isPooled, subject }: Database): Promise<Finding[]> {
  if (!(await isPooled())) return []
  return [
    warning(
      'server.pooler',
      subject,
      'A pooler stands in front of the server: hints by LISTEN and prepared statements are off, and each batch costs more.',
      'Let the URL name the server itself, without the pooler.',
    ),
  ]
}
