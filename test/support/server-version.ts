/** For tests of what only newer servers know: `await needsPostgres(context, sql, 17, 'transaction_timeout')`. */
import type postgres from 'postgres'
import type { TestContext } from 'vitest'

export async function postgresMajor(sql: postgres.Sql): Promise<number> {
  const [row] = await sql`SELECT current_setting('server_version_num')::int / 10000 AS major`
  return Number(row?.major)
}

/** Leaves the running test out on servers before `major`, and says why: most reporters keep it to themselves. */
export async function needsPostgres(
  context: TestContext,
  sql: postgres.Sql,
  major: number,
  what: string,
): Promise<void> {
  const running = await postgresMajor(sql)
  if (running >= major) return
  const reason = `${what} needs PostgreSQL ${major}; this is ${running}`
  process.stderr.write(`Left out: ${context.task.name}: ${reason}\n`)
  context.skip(reason)
}
