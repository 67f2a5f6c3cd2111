import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Gathering } from '../../../src/sources/gathering.ts'
import type { Asker, Question } from '../../../src/sources/group-page.ts'
import type { Page, ReadRow } from '../../../src/sources/reader.ts'

const limit = { rows: 2_000, bytes: 1_000_000 }
const ask = (orgId: string, upTo = '9'): Question => ({ orgId, range: { after: '0', upTo }, limit })
const nextTurn = () => new Promise((resolve) => setImmediate(resolve))
/** Nothing here waits for these but where a test says so. */
const long = { gatherMs: 60_000, busyMs: 0, patienceMs: 60_000, restMs: 60_000 }

function rowOf(position: string, orgId: string): ReadRow {
  const id = `test:${position}`
  const event = { id, logType: 'test', timestamp: '', timestampMs: 0, orgId, dataJson: '{}' }
  return { position, event }
}

/** Statements for many that wait to be answered, and the tenants that read alone. */
function source(policy: ConstructorParameters<typeof Gathering>[1] = long) {
  const groups: { askers: readonly Asker[]; upTo: string; done(): void; fail(error: Error): void }[] = []
  const alone: string[] = []
  const gathering = new Gathering(
    {
      read(askers, upTo) {
        const { promise, resolve, reject } = Promise.withResolvers<void>()
        groups.push({ askers, upTo, done: resolve, fail: reject })
        return promise
      },
    },
    policy,
  )
  const read = (question: Question, make: (row: ReadRow) => string = ({ position }) => position) =>
    gathering.read(question, make, async (): Promise<Page<string>> => {
      alone.push(question.orgId)
      return { rows: ['alone'], last: undefined, full: true, oldest: undefined }
    })
  return { groups, alone, read }
}

const orgsOf = (askers: readonly Asker[]) => askers.map(({ question }) => question.orgId)

test('those who ask at once are read for together, and each gets its own rows', async () => {
  const { groups, alone, read } = source()
  const pages = Promise.all(['a', 'b', 'c'].map((org) => read(ask(org))))
  await nextTurn()
  const [group] = groups
  if (!group) throw new Error('no statement for them')
  expect([group.upTo, orgsOf(group.askers)]).toEqual(['9', ['a', 'b', 'c']])
  const [a, , c] = group.askers
  a?.take(rowOf('1', 'a'))
  a?.take(rowOf('4', 'a'))
  c?.take(rowOf('2', 'c'))
  for (const asker of group.askers) asker.end('1')
  group.done()
  expect(await pages).toEqual([
    { rows: ['1', '4'], last: '4', full: false, oldest: '1' },
    { rows: [], last: undefined, full: false, oldest: '1' },
    { rows: ['2'], last: '2', full: false, oldest: '1' },
  ])
  expect(alone).toEqual([])
})

test('one or two read alone, at once', async () => {
  const { groups, alone, read } = source()
  await Promise.all([read(ask('a')), read(ask('b'))])
  expect(alone).toEqual(['a', 'b'])
  expect(groups).toEqual([])
})

test('who asks for rows up to another position is in another statement', async () => {
  const { groups, read } = source()
  for (const org of ['a', 'b', 'c', 'd', 'e', 'f']) void read(ask(org, org < 'd' ? '5' : '7'))
  await nextTurn()
  expect(groups.map(({ askers, upTo }) => [upTo, ...orgsOf(askers)])).toEqual([
    ['5', 'a', 'b', 'c'],
    ['7', 'd', 'e', 'f'],
  ])
})

describe('while a statement is under way', () => {
  const all = ['a', 'b', 'c']

  async function begun(policy?: Partial<typeof long>) {
    const scene = source({ ...long, ...policy })
    const pages = Promise.all(all.map((org) => scene.read(ask(org))))
    await nextTurn()
    const [group] = scene.groups
    if (!group) throw new Error('no statement for them')
    return { ...scene, pages, group }
  }

  test('others gather until it has ended', async () => {
    const { groups, group, read } = await begun()
    for (const org of ['d', 'e', 'f']) void read(ask(org))
    await nextTurn()
    expect(groups).toHaveLength(1)
    group.done()
    await nextTurn()
    await nextTurn()
    expect(orgsOf(groups[1]?.askers ?? [])).toEqual(['d', 'e', 'f'])
  })

  test('others gather for a short time only', async () => {
    const { alone, read } = await begun({ gatherMs: 1 })
    await read(ask('d'))
    expect(alone).toEqual(['d'])
  })

  test('many do not gather at all', async () => {
    const { groups, read } = await begun()
    for (let index = 0; index < 16; index++) void read(ask(`more ${index}`))
    await nextTurn()
    expect(groups[1]?.askers).toHaveLength(16)
  })

  test('all read alone when it fails, and for some time after', async () => {
    const { alone, groups, group, pages, read } = await begun()
    group.askers[0]?.take(rowOf('1', 'a'))
    group.fail(new Error('cancelled'))
    expect((await pages).map(({ rows }) => rows)).toEqual([['alone'], ['alone'], ['alone']])
    await Promise.all(['d', 'e', 'f'].map((org) => read(ask(org))))
    expect(alone).toEqual([...all, 'd', 'e', 'f'])
    expect(groups).toHaveLength(1)
  })

  test('all read alone when it takes long, whatever it still brings', async () => {
    const { alone, group, pages } = await begun({ patienceMs: 1 })
    expect((await pages).map(({ rows }) => rows)).toEqual([['alone'], ['alone'], ['alone']])
    for (const asker of group.askers) {
      asker.take(rowOf('1', 'a'))
      asker.end('1')
    }
    group.done()
    await nextTurn()
    expect(alone).toEqual(all)
  })

  test('who is told of no end reads alone', async () => {
    const { alone, group, pages } = await begun()
    group.askers[0]?.end('1')
    group.askers[2]?.end('1')
    group.done()
    expect((await pages).map(({ rows }) => rows)).toEqual([[], ['alone'], []])
    expect(alone).toEqual(['b'])
  })
})

test('a row that cannot be encoded concerns its own destination alone', async () => {
  const { alone, groups, read } = source()
  const refuse = () => {
    throw new Error('no such row')
  }
  const pages = Promise.all([read(ask('a')), read(ask('b'), refuse), read(ask('c'))])
  await nextTurn()
  for (const asker of groups[0]?.askers ?? []) {
    asker.take(rowOf('3', asker.question.orgId))
    asker.end('3')
  }
  groups[0]?.done()
  expect((await pages).map(({ rows }) => rows)).toEqual([['3'], ['alone'], ['3']])
  expect(alone).toEqual(['b'])
})

test('shortly after a statement for many who asks gathers first', async () => {
  const { groups, alone, read } = source({ ...long, busyMs: 60_000 })
  for (const org of ['a', 'b', 'c']) void read(ask(org))
  await nextTurn()
  groups[0]?.done()
  await nextTurn()
  for (const org of ['d', 'e']) void read(ask(org))
  await nextTurn()
  await nextTurn()
  expect(alone).toEqual(['a', 'b', 'c'])
  expect(groups).toHaveLength(1)
})

test('whoever asks whenever is answered, by its own rows', async () => {
  const asked = fc.record({
    wait: fc.nat({ max: 3 }),
    upTo: fc.constantFrom('5', '9'),
    fate: fc.constantFrom('few', 'many', 'fails'),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(asked, { maxLength: 60 }), async (all) => {
      let statements = 0
      const gathering = new Gathering(
        {
          async read(askers, upTo) {
            expect(askers.every(({ question }) => question.range.upTo === upTo)).toBe(true)
            statements += 1
            const fate = new Map(askers.map((asker) => [asker, all[Number(asker.question.orgId)]?.fate]))
            for (const asker of askers) {
              await nextTurn()
              if (fate.get(asker) === 'fails') throw new Error('cancelled')
              asker.take(rowOf('1', asker.question.orgId))
              if (fate.get(asker) === 'few') asker.end('1')
            }
          },
        },
        { gatherMs: 1, busyMs: 1, patienceMs: 60_000, restMs: 0 },
      )
      const pages = await Promise.all(
        all.map(async ({ wait, upTo }, index) => {
          for (let turn = 0; turn < wait; turn++) await nextTurn()
          const page = { rows: [String(index)], last: '1', full: false, oldest: '1' }
          return gathering.read(
            ask(String(index), upTo),
            ({ event }) => String(event.orgId),
            async () => page,
          )
        }),
      )
      expect(pages.map(({ rows }) => rows)).toEqual(all.map((_, index) => [String(index)]))
      expect(statements).toBeLessThanOrEqual(all.length / 3)
    }),
    { numRuns: 100 },
  )
})
