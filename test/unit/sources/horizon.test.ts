import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Holder, Horizon } from '../../../src/sources/horizon.ts'
import { type Event, history, SequenceModel } from './sequence-model.ts'

const running = (...names: string[]): Holder[] =>
  names.map((transaction) => ({ transaction, prepared: false }))
const prepared = (...names: string[]): Holder[] =>
  names.map((transaction) => ({ transaction, prepared: true }))

describe('the horizon', () => {
  test('is unknown until the first fence opens, and then at its highest id', () => {
    const horizon = new Horizon()
    expect(horizon.position).toBeUndefined()
    expect(horizon.observe({ highest: '7', holders: running('1/1') }, true)).toBe(false)
    expect(horizon).toMatchObject({ position: undefined, pending: true })
    expect(horizon.observe({ highest: '9', holders: [] }, false)).toBe(true)
    expect(horizon).toMatchObject({ position: '7', pending: false })
  })

  test('moves at once where nobody holds the lock', () => {
    const horizon = new Horizon('3')
    expect(horizon.observe({ highest: '10', holders: [] }, true)).toBe(true)
    expect(horizon.position).toBe('10')
  })

  test('waits for every writer of the fence and for none that came later', () => {
    const horizon = new Horizon('0')
    horizon.observe({ highest: '5', holders: running('1/1', '2/1') }, true)
    expect(horizon.observe({ highest: '6', holders: running('2/1', '3/1') }, false)).toBe(false)
    expect(horizon.observe({ highest: '8', holders: running('3/1') }, false)).toBe(true)
    expect(horizon.position).toBe('5')
  })

  test('opens several pending fences as their writers end, the newest open one counting', () => {
    const horizon = new Horizon('0')
    horizon.observe({ highest: '5', holders: running('1/1') }, true)
    horizon.observe({ highest: '8', holders: running('1/1', '2/1') }, true)
    horizon.observe({ highest: '9', holders: running('1/1', '2/1', '3/1') }, true)
    expect(horizon.observe({ highest: '9', holders: running('2/1', '3/1') }, false)).toBe(true)
    expect(horizon.position).toBe('5')
    expect(horizon.observe({ highest: '9', holders: running('3/1') }, false)).toBe(true)
    expect(horizon).toMatchObject({ position: '8', pending: true })
  })

  test('a later fence that opens first makes the earlier ones pointless', () => {
    const horizon = new Horizon('0')
    horizon.observe({ highest: '5', holders: running('1/1') }, true)
    expect(horizon.observe({ highest: '8', holders: [] }, true)).toBe(true)
    expect(horizon).toMatchObject({ position: '8', pending: false })
  })

  test('takes no fence where none is asked for or nothing new is seen', () => {
    const horizon = new Horizon('5')
    expect(horizon.observe({ highest: '9', holders: [] }, false)).toBe(false)
    expect(horizon.observe({ highest: '5', holders: [] }, true)).toBe(false)
    expect(horizon.observe({ highest: '4', holders: [] }, true)).toBe(false)
    expect(horizon).toMatchObject({ position: '5', pending: false })
  })

  test('keeps at most 64 fences: beyond that the newest gives way, the oldest still opens', () => {
    const horizon = new Horizon('0')
    const writers = Array.from({ length: 101 }, (_, index) => `${index}/1`)
    for (let id = 1; id <= 100; id += 1) {
      // Fence 1 waits for writer 1, fence 2 for 1 and 2, and so on.
      horizon.observe({ highest: String(id), holders: running(...writers.slice(1, id + 1)) }, true)
    }
    const positions = new Set<string | undefined>()
    for (let id = 1; id <= 100; id += 1) {
      const left = [...writers.slice(1, 101 - id)]
      horizon.observe({ highest: '100', holders: running(...left) }, false)
      positions.add(horizon.position)
    }
    expect(horizon).toMatchObject({ position: '100', pending: false })
    expect(positions).toEqual(new Set(['0', '100']))
  })

  test('forgets its fences, not its position, when the connection is lost', () => {
    const horizon = new Horizon('2')
    horizon.observe({ highest: '5', holders: running('1/1') }, true)
    horizon.reset()
    expect(horizon).toMatchObject({ position: '2', pending: false })
    expect(horizon.observe({ highest: '5', holders: [] }, false)).toBe(false)
  })
})

describe('prepared transactions', () => {
  test('hold a fence like any other', () => {
    const horizon = new Horizon('0')
    horizon.observe({ highest: '5', holders: prepared('1/1') }, true)
    expect(horizon.observe({ highest: '5', holders: prepared('1/1') }, false)).toBe(false)
    expect(horizon.observe({ highest: '5', holders: [] }, false)).toBe(true)
  })

  test('take the place of a running one that is gone, which may be the same under another name', () => {
    const horizon = new Horizon('0')
    horizon.observe({ highest: '5', holders: running('1/1') }, true)
    expect(horizon.observe({ highest: '5', holders: prepared('-1/742') }, false)).toBe(false)
    expect(horizon.observe({ highest: '5', holders: prepared('-1/742') }, false)).toBe(false)
    expect(horizon.observe({ highest: '5', holders: [] }, false)).toBe(true)
  })

  test('that were there before take nobody’s place', () => {
    const horizon = new Horizon('0')
    horizon.observe({ highest: '3', holders: prepared('9/9') }, false)
    horizon.observe({ highest: '5', holders: [...running('1/1')] }, true)
    horizon.reset()
    horizon.observe({ highest: '5', holders: [...running('1/1'), ...prepared('9/9')] }, false)
    horizon.observe({ highest: '5', holders: running('1/1') }, true)
    expect(horizon.observe({ highest: '5', holders: [] }, false)).toBe(true)
  })

  test('that come back from a restart hold the fence, also where a new session has an old name', () => {
    const horizon = new Horizon('0')
    horizon.observe({ highest: '5', holders: prepared('1/1') }, true)
    expect(
      horizon.observe({ highest: '5', holders: [...running('1/1'), ...prepared('-1/742')] }, false),
    ).toBe(false)
    expect(horizon.observe({ highest: '5', holders: prepared('-1/742') }, false)).toBe(false)
    expect(horizon.observe({ highest: '5', holders: [] }, false)).toBe(true)
  })

  test('in an endless stream do not keep the horizon from moving', () => {
    const horizon = new Horizon('0')
    let moves = 0
    for (let turn = 1; turn <= 50; turn += 1) {
      // One is running, one prepared, and the one before has committed.
      const holders = [...running(`${turn + 1}/1`), ...prepared(`${turn}/1`)]
      if (horizon.observe({ highest: String(turn), holders }, true)) moves += 1
    }
    expect(moves).toBeGreaterThan(40)
  })
})

/** The first moment at which an id at or below the horizon can still appear. */
function firstViolation(events: readonly Event[], renames: boolean, fenced: boolean): string | undefined {
  const model = new SequenceModel(renames)
  const horizon = new Horizon()
  for (const [index, event] of events.entries()) {
    if (event.do !== 'observe') {
      model.run(event)
      continue
    }
    const { highest, holders } = model.observe(event.between)
    horizon.observe({ highest, holders: fenced ? holders : [] }, event.fence)
    const position = Number(horizon.position ?? -1)
    if (position >= model.lowestOutstanding) return `${position} ≥ ${model.lowestOutstanding} after ${index}`
  }
  while (model.open > 0) model.run({ do: 'commit', which: 0 })
  for (let look = 0; look < 3; look += 1) horizon.observe(model.observe([]), true)
  return horizon.position === String(model.highest) ? undefined : `stuck at ${horizon.position}`
}

describe('over any history of writers', () => {
  const runs = { seed: 7, numRuns: 4_000 }

  test.each([false, true])(
    'never passes an id that can still appear, and reaches the top when all have ended (renaming: %s)',
    (renames) => {
      fc.assert(
        fc.property(history, (events) => {
          expect(firstViolation(events, renames, true)).toBeUndefined()
        }),
        runs,
      )
    },
  )

  test('without the fence the same histories lose rows, so this test can fail', () => {
    const found = fc.sample(history, runs).filter((events) => firstViolation(events, false, false))
    expect(found.length).toBeGreaterThan(1_000)
  })
})
