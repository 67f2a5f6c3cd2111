import { expect, test } from 'vitest'
import { StatementWatch, type Suspect } from '../../../src/db/statement-watch.ts'

function setUp({ patienceMs = 100, hurriedMs = 10 } = {}) {
  let now = 0
  let losses = 0
  const asked: number[][] = []
  const busy = new Set<number>()
  let answers = true
  const watch = new StatementWatch({
    lost: async (suspects: readonly Suspect[]) => {
      if (!answers) throw new Error('nobody there')
      asked.push(suspects.map(({ pid }) => pid))
      return suspects.filter(({ pid }) => !busy.has(pid))
    },
    onLost: () => {
      losses += 1
    },
    patienceMs,
    hurriedMs,
    now: () => now,
  })
  const statement = (pid: number | null) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    return { query: Object.assign(promise, { state: pid === null ? null : { pid } }), answer: resolve }
  }
  return {
    watch,
    asked,
    busy,
    statement,
    get losses() {
      return losses
    },
    cut: (isCut: boolean) => {
      answers = !isCut
    },
    /** A look after a while. */
    async after(ms: number) {
      now += ms
      await watch.runOnce()
    },
  }
}

test('gives up after the server was asked twice and works on the statement neither time', async () => {
  const scene = setUp()
  scene.watch.follow(scene.statement(7).query)
  await scene.after(99)
  expect(scene.asked).toEqual([])
  await scene.after(1)
  expect([scene.asked, scene.losses]).toEqual([[[7]], 0])
  await scene.after(1)
  expect([scene.asked, scene.losses]).toEqual([[[7], [7]], 1])
})

test('waits for a statement that the server works on, however long it takes', async () => {
  const scene = setUp()
  scene.busy.add(7)
  scene.watch.follow(scene.statement(7).query)
  for (let look = 1; look <= 50; look++) await scene.after(1_000)
  expect(scene.losses).toBe(0)
  scene.busy.clear()
  await scene.after(1)
  await scene.after(1)
  expect(scene.losses).toBe(1)
})

test('judges nothing while nobody answers, nor a statement that has no connection yet', async () => {
  const scene = setUp()
  scene.watch.follow(scene.statement(7).query)
  scene.watch.follow(scene.statement(null).query)
  scene.cut(true)
  for (let look = 1; look <= 5; look++) await scene.after(1_000)
  expect(scene.losses).toBe(0)
  scene.cut(false)
  await scene.after(1)
  await scene.after(1)
  expect([scene.asked, scene.losses]).toEqual([[[7], [7]], 1])
})

test('spares a statement that is answered between two looks, and one of which rows arrive', async () => {
  const scene = setUp()
  const { query, answer } = scene.statement(7)
  scene.watch.follow(query)
  const hear = scene.watch.follow(scene.statement(8).query, 'page')
  // Behind the one on its connection.
  scene.watch.follow(scene.statement(7).query)
  await scene.after(400)
  expect(scene.asked).toEqual([[7, 8]])
  answer()
  hear()
  await query
  await scene.after(100)
  expect([scene.asked, scene.losses]).toEqual([[[7, 8], [7]], 0])
})

test('is more patient after each loss, so that an answer comes through a slow link in the end', async () => {
  const scene = setUp()
  scene.watch.follow(scene.statement(7).query)
  await scene.after(100)
  await scene.after(1)
  expect(scene.losses).toBe(1)
  scene.watch.follow(scene.statement(8).query)
  await scene.after(199)
  expect(scene.asked.flat()).not.toContain(8)
  await scene.after(600_000)
  expect(scene.asked.flat()).toContain(8)
})

test('in a hurry, what is silent is given up before its patience ends, unless the server works on it', async () => {
  for (const isBusy of [false, true]) {
    const scene = setUp({ patienceMs: 60_000, hurriedMs: 2 })
    if (isBusy) scene.busy.add(1)
    scene.watch.follow(scene.statement(1).query, 'page')
    await scene.after(1_000)
    expect(scene.asked).toEqual([])
    await scene.watch.hurry()
    expect(scene.asked).toHaveLength(isBusy ? 8 : 2)
    expect(scene.losses).toBe(isBusy ? 0 : 1)
  }
})

test('a hurry lasts long enough for a statement that begins in it', async () => {
  const scene = setUp({ patienceMs: 60_000, hurriedMs: 20 })
  const hurry = scene.watch.hurry()
  scene.watch.follow(scene.statement(1).query)
  await scene.after(1_000)
  await hurry
  expect(scene.losses).toBe(1)
})
