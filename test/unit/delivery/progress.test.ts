import { expect, test } from 'vitest'
import { Progress } from '../../../src/delivery/progress.ts'

function setUp() {
  let now = 0
  const progress = new Progress(() => now)
  return {
    progress,
    after: (ms: number) => {
      now += ms
      return progress.problems
    },
    begin(kind: 'registry' | 'page' | 'cursor' = 'cursor') {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const tracked = progress.track(
        kind,
        () => promise,
        (error) => error === 'foreign',
      )
      const ended = tracked.catch(() => {})
      return {
        succeed() {
          resolve()
          return ended
        },
        fail(error = 'wrong') {
          reject(error)
          return ended
        },
      }
    },
  }
}

const stuck = expect.stringContaining('no cursor has been written')

test('is stuck while nothing that was begun is done, and no longer when it is', async () => {
  const { after, begin } = setUp()
  const first = begin()
  expect(after(14_000)).toEqual([])
  expect(after(2_000)).toEqual(['forwarders: no cursor has been written for 16 s'])
  await first.succeed()
  expect(after(0)).toEqual([])
  expect(after(60_000)).toEqual([])
})

test('one piece that hangs while later ones pass is its own matter, also when they have become rare', async () => {
  const { after, begin } = setUp()
  void begin()
  after(1_000)
  await begin().succeed()
  expect(after(3_600_000)).toEqual([])
  void begin()
  expect(after(15_000)).toEqual([stuck])
})

test('what was begun before it and ends after it proves nothing', async () => {
  const { after, begin } = setUp()
  const early = begin()
  void begin()
  await early.succeed()
  expect(after(15_000)).toEqual([stuck])
})

test('reading passes for no writing', async () => {
  const { after, begin } = setUp()
  void begin('cursor')
  await begin('page').succeed()
  expect(after(15_000)).toEqual([stuck])
})

test('is stuck when every piece fails, until one succeeds or none is tried any more', async () => {
  const { after, begin } = setUp()
  for (let tries = 1; tries <= 4; tries++) {
    await begin().fail()
    after(5_000)
  }
  expect(after(0)).toEqual([stuck])
  await begin().succeed()
  expect(after(0)).toEqual([])
  await begin().fail()
  expect(after(16_000)).toEqual([])
})

test('errors that are not the daemon’s count for nothing', async () => {
  const { after, begin } = setUp()
  for (let tries = 1; tries <= 4; tries++) {
    await begin().fail('foreign')
    expect(after(5_000)).toEqual([])
  }
})
