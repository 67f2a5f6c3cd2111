/**
 * The servers that Spillway works with. The schema needs 14 (multiranges), and no test runs on anything older;
 * `npm run test:matrix` runs them on each major version from there on.
 */
import type postgres from 'postgres'
import { ServerVersionError } from '../errors.ts'

const oldestMajor = 14

export interface ServerVersion {
  /** As the server says it, e.g. `14.23 (Debian 14.23-1.pgdg12+1)`. */
  readonly version: string
  /** `server_version_num`, e.g. 140023. */
  readonly number: number
}

export interface ServerProblem {
  readonly message: string
  readonly hint: string
}

/** Why a server cannot be used, and what to do; undefined where it can. */
export function serverProblem({ version, number }: ServerVersion): ServerProblem | undefined {
  if (number >= oldestMajor * 10_000) return undefined
  return {
    message: `PostgreSQL ${version} is too old: Spillway needs ${oldestMajor} or later`,
    hint: `Upgrade the server to PostgreSQL ${oldestMajor} or later, or use a database on one that is.`,
  }
}

/** The version of the server behind the state database. Throws `ServerVersionError` where it is too old. */
export async function requireServer(sql: postgres.Sql): Promise<string> {
  const [row] = await sql<{ version: string; number: string }[]>`
    SELECT current_setting('server_version') AS version, current_setting('server_version_num') AS number`
  if (!row) throw new Error('The server does not tell its version.')
  const problem = serverProblem({ version: row.version, number: Number(row.number) })
  if (problem) throw new ServerVersionError(problem.message, problem.hint)
  return row.version
}
