import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { GroupCommit } from '../../../src/delivery/group-commit.ts'

/** A database that keeps statements until it is told how they end. */
function startCommits({ largest = 500 } = {}) {
  const statements: {
    items: readonly string[]
    end: PromiseWithResolvers<ReadonlySet<number>>
    leave: PromiseWithResolvers<void>
  }[] = []
  const commit = new GroupCommit<string>({
    largest,
    write(items) {
      const end = Promise.withResolvers<ReadonlySet<number>>()
      const leave = Promise.withResolvers<void>()
      statements.push({ items, end, leave })
      return { done: end.promise, dispatched: leave.promise }
    },
  })
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  const succeed = async (index: number) => {
    statements[index]?.end.resolve(new Set(statements[index].items.keys()))
    await turn()
    await turn()
  }
  const items = () => statements.map((statement) => statement.items)
  return { commit, statements, items, turn, succeed }
}

test('whoever comes in the same turn goes with one statement', async () => {
  const { commit, items, turn, succeed } = startCommits()
  const results = Promise.all([commit.write('a'), commit.write('b'), commit.write('c')])
  await turn()
  expect(items()).toEqual([['a', 'b', 'c']])
  await succeed(0)
  expect(await results).toEqual([true, true, true])
})

test('whoever comes while a statement is under way goes with the next one', async () => {
  const { commit, items, turn, succeed } = startCommits()
  const first = commit.write('a')
  await turn()
  const others = Promise.all([commit.write('b'), commit.write('c')])
  await turn()
  expect(items()).toEqual([['a']])
  await succeed(0)
  expect(items()).toEqual([['a'], ['b', 'c']])
  await succeed(1)
  expect(await Promise.all([first, others])).toEqual([true, [true, true]])
})

test('after one that went alone, the next one waits for nobody; after several, for those of its turn', async () => {
  const { commit, items, turn, succeed } = startCommits()
  void commit.write('a')
  await turn()
  await succeed(0)
  void commit.write('b')
  expect(items()).toEqual([['a'], ['b']])
  const others = [commit.write('c'), commit.write('d')]
  await succeed(1)
  expect(items()).toEqual([['a'], ['b'], ['c', 'd']])
  await succeed(2)
  await Promise.all(others)
  void commit.write('e')
  void commit.write('f')
  expect(items()).toHaveLength(3)
  await turn()
  expect(items().slice(3)).toEqual([['e', 'f']])
})

test('everybody hears that the statement they go with is on its way, and of no other', async () => {
  const { commit, statements, succeed, turn } = startCommits()
  const heard: string[] = []
  const write = (item: string) => commit.write(item, () => heard.push(item))
  const all = [write('a'), write('b')]
  await turn()
  all.push(write('c'))
  statements[0]?.leave.resolve()
  await turn()
  expect(heard).toEqual(['a', 'b'])
  await succeed(0)
  // It fails before it is on its way.
  statements[1]?.leave.reject(new Error('gone'))
  statements[1]?.end.reject(new Error('gone'))
  expect(await Promise.all(all)).toEqual([true, true, false])
  expect(heard).toEqual(['a', 'b'])
})

test('a statement that takes its time is overtaken, by a few at most', async () => {
  const { commit, items, succeed, statements } = startCommits()
  const done: string[] = []
  const write = (item: string) => void commit.write(item).then(() => done.push(item))
  for (const item of ['a', 'b', 'c', 'd', 'e', 'f']) {
    write(item)
    await delay(50)
  }
  expect(items()).toEqual([['a'], ['b'], ['c'], ['d']])
  await succeed(2)
  expect(items().at(-1)).toEqual(['e', 'f'])
  for (const index of statements.keys()) await succeed(index)
  expect(done.toSorted()).toEqual(['a', 'b', 'c', 'd', 'e', 'f'])
})

test('a statement has no more items than it may', async () => {
  const { commit, items, turn, succeed } = startCommits({ largest: 2 })
  const results = Promise.all(['a', 'b', 'c'].map((item) => commit.write(item)))
  await turn()
  expect(items()).toEqual([['a', 'b']])
  await succeed(0)
  await succeed(1)
  expect(items()).toEqual([['a', 'b'], ['c']])
  expect(await results).toEqual([true, true, true])
})

test('whatever a statement leaves out, or fails with, is said of the items that it concerns', async () => {
  const { commit, statements, turn } = startCommits()
  const first = Promise.all([commit.write('a'), commit.write('b')])
  await turn()
  const second = Promise.all([commit.write('c'), commit.write('d')])
  statements[0]?.end.resolve(new Set([1]))
  expect(await first).toEqual([false, true])
  await turn()
  statements[1]?.end.reject(new Error('gone'))
  expect(await second).toEqual([false, false])
  const third = commit.write('e')
  await turn()
  statements[2]?.end.resolve(new Set([0]))
  expect(await third).toBe(true)
})
