import { expect, test } from 'vitest'
import { DatabaseProbe } from '../../../src/db/probe.ts'

test('says what is wrong with the answer, that there is none, and why it failed', async () => {
  let now = 0
  let ask = Promise.withResolvers<readonly string[]>()
  const probe = new DatabaseProbe({ database: 'state', ask: () => ask.promise, now: () => now })
  const first = probe.runOnce()
  now = 9_999
  expect(probe.problems).toEqual([])
  now = 12_000
  expect(probe.problems).toEqual(['state database: no answer for 12 s'])
  ask.resolve(['wrong'])
  await first
  expect(probe.problems).toEqual(['wrong'])
  ask = Promise.withResolvers()
  const second = probe.runOnce()
  // What was last known holds until it is known better.
  expect(probe.problems).toEqual(['wrong'])
  ask.reject(Object.assign(new Error('password of postgres://hush@…'), { code: '28P01' }))
  await second
  expect(probe.problems).toEqual(['state database: cannot be used (28P01)'])
  ask = Promise.withResolvers()
  ask.resolve([])
  await probe.runOnce()
  expect(probe.problems).toEqual([])
})

test('says nothing new of a question that waits behind others, as long as these are answered', () => {
  let now = 0
  let isQueued = true
  const ask = () => new Promise<never>(() => {})
  const probe = new DatabaseProbe({ database: 'source', ask, isQueued: () => isQueued, now: () => now })
  void probe.runOnce()
  now = 12_000
  expect(probe.problems).toEqual([])
  isQueued = false
  expect(probe.problems).toEqual(['source database: no answer for 12 s'])
})

test('asks no second question while one is open, and ends at once', async () => {
  const stopping = new AbortController()
  let asked = 0
  const ask = () => {
    asked += 1
    return new Promise<never>(() => {})
  }
  const running = new DatabaseProbe({ database: 'source', ask, everyMs: 1 }).run(stopping.signal)
  await new Promise((resolve) => setImmediate(resolve))
  stopping.abort()
  await running
  expect(asked).toBe(1)
})
