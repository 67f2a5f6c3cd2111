import { expect, test } from 'vitest'
import type { SourceSql, Sql } from '../../src/db/client.ts'
import { PoolUsage } from '../../src/db/pool-usage.ts'
import { serviceReadiness } from '../../src/service-readiness.ts'
import type { SourceSet } from '../../src/sources/source-set.ts'

const none = { problems: [] }

/** A pool of one connection, in which a statement is under way and `waiting` others wait. */
function pool(waiting: number) {
  let now = 0
  const usage = new PoolUsage(1, () => now)
  const statements = Array.from({ length: waiting + 1 }, () => {
    const statement = Promise.withResolvers<void>()
    return { ...statement, ended: usage.during(() => statement.promise).catch(() => {}) }
  })
  return {
    usage,
    pass: (ms: number) => {
      now += ms
    },
    /** The first of them is answered, or fails. */
    next: async (error?: Error) => {
      const first = statements.shift()
      if (error) first?.reject(error)
      else first?.resolve()
      await first?.ended
    },
  }
}

function sourcesProblems(usage: PoolUsage): string[] {
  const watchers = [
    { definition: { logType: 'request' }, stillMs: 12_000 },
  ] as unknown as SourceSet['watchers']
  const { readiness } = serviceReadiness({
    sql: (() => {}) as unknown as Sql, // nobody asks
    sourceSql: {} as SourceSql, // nor here
    pools: { state: new PoolUsage(1), source: usage },
    sources: { watchers },
    progress: none,
    leases: none,
    pollIntervalMs: 1_000,
  })
  return readiness.problems
}

const still = ['source request: not looked at for 12 s']

test('a source that nobody looks at is a problem, with idle connections and with ones that all hang', async () => {
  const idle = pool(0)
  await idle.next()
  expect(sourcesProblems(idle.usage)).toEqual(still)
  const hung = pool(5)
  await hung.next()
  hung.pass(10_000)
  expect(sourcesProblems(hung.usage)).toEqual(still)
  await hung.next(new Error('cancelled'))
  expect(sourcesProblems(hung.usage)).toEqual(still)
})

test('a look that waits for its turn is none while turns come, nor is one that has just got it', async () => {
  const busy = pool(2)
  for (const _ of [1, 2]) {
    busy.pass(9_000)
    await busy.next()
    expect(sourcesProblems(busy.usage)).toEqual([])
  }
  expect(busy.usage.waiting).toBe(0)
  busy.pass(10_000)
  expect(sourcesProblems(busy.usage)).toEqual(still)
})
