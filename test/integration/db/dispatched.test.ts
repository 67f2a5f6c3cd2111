/** What is dispatched outlives the process that has sent it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { connectState, type StatePoolOptions } from '../../../src/db/client.ts'
import { dispatched } from '../../../src/db/dispatched.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { programEnv } from '../../support/program.ts'
import { until } from '../../support/until.ts'

const { url, sql: own } = await createTestDatabase()
const program = fileURLToPath(new URL('../../support/killed-writer.ts', import.meta.url))

function pool(options: Partial<StatePoolOptions> = {}) {
  const sql = connectState(url, { applicationName: 'test', max: 1, oneStatementAtATime: true, ...options })
  whenDone(() => sql.end({ timeout: 1 }))
  return sql
}

/** What happens first to a statement that takes its time. */
async function firstOf(statement: PromiseLike<unknown>) {
  const order: string[] = []
  await Promise.all([
    statement.then(() => order.push('answered')),
    dispatched(statement).then(() => order.push('dispatched')),
  ])
  return order[0]
}

test('a statement is carried out although its process was killed as soon as it was dispatched', async () => {
  const writers = Array.from({ length: 12 }, (_, number) => number)
  await own`CREATE TABLE public.writes AS SELECT number, 0 AS times FROM generate_series(0, ${writers.length - 1}::int) number`
  await own`ALTER TABLE public.writes ADD PRIMARY KEY (number)`
  const write = async () => {
    for (let number = writers.shift(); number !== undefined; number = writers.shift()) {
      const child = spawn(process.execPath, [program, url, String(number)], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: programEnv,
      })
      const [said, [, killedBy]] = await Promise.all([text(child.stdout), once(child, 'close')])
      expect([said, killedBy]).toEqual(['under way', 'SIGKILL'])
    }
  }
  await Promise.all([write(), write(), write()])
  await until(async () => (await own`SELECT FROM public.writes WHERE times <> 2`).length === 0)
})

test('a statement that is known on its connection is dispatched before it is answered', async () => {
  const sql = pool()
  const sleep = (seconds: number) => sql`SELECT pg_sleep(${seconds}::float8)`
  await sleep(0)
  expect(await firstOf(sleep(0.1))).toBe('dispatched')
})

test('what is still to be described is dispatched once it is answered: its parameters have not left yet', async () => {
  const sql = pool()
  await sql`SELECT 1`
  expect(await firstOf(sql`SELECT pg_sleep(${0.1}::float8)`)).toBe('answered')
})

test('behind a pooler, where that is always so, the answer is waited for', async () => {
  const sql = pool({ pooled: true })
  const sleep = (seconds: number) => sql`SELECT pg_sleep(${seconds}::float8)`
  await sleep(0)
  expect(await firstOf(sleep(0.1))).toBe('answered')
})

test('what waits for a connection is not dispatched', async () => {
  const sql = pool()
  const sleep = (seconds: number) => sql`SELECT pg_sleep(${seconds}::float8)`
  await sleep(0)
  const before = sleep(0.1).execute()
  const waiting = await firstOf(sleep(0.1))
  await before
  expect(waiting).toBe('answered')
})

test('what fails before it is dispatched rejects', async () => {
  const sql = pool()
  const statement = sql`SELECT ${1}::int / 0`
  const failed = expect(dispatched(statement)).rejects.toMatchObject({ code: '22012' })
  await expect(statement).rejects.toMatchObject({ code: '22012' })
  await failed
})
