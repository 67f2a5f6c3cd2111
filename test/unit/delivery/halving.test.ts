import { describe, expect, test } from 'vitest'
import type { Outcome } from '../../../providers/provider.ts'
import { cutBatch } from '../../../src/delivery/batch.ts'
import { Halving, probesBeyond } from '../../../src/delivery/halving.ts'
import { item, roomy, rules } from './items.ts'
import { gone, partial, reason, rejected, retry, unauthorized } from './outcomes.ts'
import { batches, refusing, search } from './searches.ts'

const first = { looksBeyond: false, probes: Number.POSITIVE_INFINITY }
const again = { looksBeyond: true, probes: Number.POSITIVE_INFINITY }
const accepted: Outcome = { kind: 'accepted' }

describe('a refused batch', () => {
  test('is halved until the culprit is alone, and the rest is delivered in order', () => {
    expect(search(new Halving(batches(8), first), refusing(6))).toMatchObject({
      // The culprit must be in [5 … 8] once [1 … 4] are accepted: that needs no request.
      asked: ['1-8', '1-4', '5-6', '5', '6', '7-8'],
      dead: ['request:6'],
      to: '8',
      accepted: [1, 2, 3, 4, 5, 7, 8],
    })
  })

  test('with its culprit in front waits for an acceptance before that is a dead letter', () => {
    const { asked, steps } = search(new Halving(batches(4), first), refusing(1))
    expect(asked).toEqual(['1-4', '1-2', '1', '2', '3-4'])
    expect(steps.map(({ settlement }) => settlement?.to)).toEqual([undefined, undefined, undefined, '2', '4'])
    expect(steps[3]?.settlement).toMatchObject({
      accepted: 1,
      deadLetters: [{ eventId: 'request:1', status: 503 }],
    })
  })

  test('with several culprits in front asks for them once more, since the destination may just have been mended', () => {
    let isMended = false
    const found = search(new Halving(batches(4), first), (numbers) => {
      if (numbers.includes(3)) isMended ||= numbers.length === 1
      return isMended ? accepted : rejected
    })
    expect(found).toMatchObject({
      asked: ['1-4', '1-2', '1', '2', '3-4', '3', '1', '2', '4'],
      dead: [],
      to: '4',
    })
    // Late, and so out of order, but not lost.
    expect(found.accepted).toEqual([1, 2, 3, 4])
  })

  test('of which every event is refused is the destination’s fault, and gets its bounds back', () => {
    const halving = new Halving(batches(5, 3), first)
    const found = search(halving, () => rejected)
    expect(found).toMatchObject({ dead: [], to: '0', accepted: [] })
    expect(found.asked).toHaveLength(9)
    expect(halving.verdict).toEqual(reason)
    expect(halving.restored.map(({ from, to }) => [from, to])).toEqual([
      ['0', '5'],
      ['5', '8'],
    ])
  })

  test('that is too large is halved without a guess at which half is to blame', () => {
    const tooLarge: Outcome = { kind: 'rejected', reason: { ...reason, status: 413 } }
    const found = search(new Halving(batches(8), first), (numbers) =>
      numbers.length > 4 ? tooLarge : accepted,
    )
    expect(found).toMatchObject({ asked: ['1-8', '1-4', '5-8'], dead: [], to: '8' })
  })

  test.each([retry, unauthorized, gone])(
    'ends at a failure that concerns the destination: $kind',
    (failure) => {
      const halving = new Halving(batches(8), first)
      const found = search(halving, (numbers) =>
        numbers.includes(3) && numbers.length < 3 ? failure : refusing(3)(numbers),
      )
      expect(found.steps.at(-1)).toEqual({ settlement: undefined, failure })
      expect(found.to).toBe('2')
      // What was found out so far stays frozen.
      expect(halving.unsettled.map(({ to }) => to)).toEqual(['3', '4', '8'])
    },
  )

  test('costs at most twice the logarithm of its size for each culprit', () => {
    for (const size of [2, 3, 7, 64, 100, 143, 250, 1_000]) {
      for (let culprit = 1; culprit <= size; culprit += Math.ceil(size / 97)) {
        const { asked, dead } = search(new Halving(batches(size), first), refusing(culprit))
        expect(dead).toEqual([`request:${culprit}`])
        expect(asked.length - 1).toBeLessThanOrEqual(2 * Math.log2(size))
      }
    }
  })
})

describe('a batch that is wholly refused again', () => {
  test('is looked beyond: where the next is accepted, its event was to blame', () => {
    const halving = new Halving(batches(1, 2), again)
    expect(search(halving, refusing(1))).toMatchObject({ asked: ['1', '2-3'], dead: ['request:1'], to: '3' })
  })

  test('is not judged by what was accepted at an earlier time, which is settled with it', () => {
    const halving = new Halving(batches(2, 1, 1), again)
    for (const outcome of [rejected, rejected, rejected]) halving.take(outcome)
    expect(halving.take(accepted, true).settlement).toBeUndefined()
    expect(halving.acceptedAhead.map(({ to }) => to)).toEqual(['3'])
    expect(halving.unsettled.map(({ to }) => to)).toEqual(['1', '2', '3', '4'])
    // The last one, and then the first two once more.
    const rest = search(halving, refusing(1, 2))
    expect(rest).toMatchObject({ asked: ['4', '1', '2'], dead: ['request:1', 'request:2'], to: '4' })
    expect(rest.steps.map(({ settlement }) => settlement?.accepted)).toEqual([undefined, 0, 2])
  })

  test('asks for batches beyond those that are there', () => {
    const [lone, next] = batches(1, 2)
    if (!lone || !next) throw new Error('two batches were cut')
    const halving = new Halving([lone], again)
    expect(halving.take(rejected)).toEqual({ settlement: undefined, failure: undefined })
    expect(halving).toMatchObject({ needsMore: true, verdict: undefined })
    halving.add([next])
    expect(halving.take(accepted).settlement).toMatchObject({ to: '3', accepted: 2 })
  })

  test('is looked beyond over batches that have nothing to send', () => {
    const [lone, next] = batches(1, 2)
    if (!lone || !next) throw new Error('two batches were cut')
    const halving = new Halving([lone], again)
    halving.take(rejected)
    halving.add([cutBatch([], 0, '1', '1', rules(), 0).batch])
    expect(halving).toMatchObject({ needsMore: true, verdict: undefined })
    halving.add([next])
    expect(halving.take(accepted).settlement).toMatchObject({ to: '3', accepted: 2 })
  })

  test('is not looked beyond when that would hold too much in memory', () => {
    const rows = [1, 2, 3].map((row) => item(row, JSON.stringify('x'.repeat(5_000_000))))
    const limits = { ...roomy, maxBytes: 6_000_000, maxEventBytes: 6_000_000 }
    const large = rows.map(
      (row, index) => cutBatch([row], 0, String(index), String(index + 1), rules({ limits }), 0).batch,
    )
    const halving = new Halving(large, again)
    expect(search(halving, () => rejected).asked).toEqual(['1', '2'])
    expect(halving.verdict).toEqual(reason)
  })

  test('is not looked beyond for ever', () => {
    const halving = new Halving(batches(4, ...Array.from({ length: 50 }, () => 2)), again)
    const { asked, dead } = search(halving, () => rejected)
    expect(asked).toHaveLength(7 + probesBeyond)
    expect(dead).toEqual([])
    expect(halving.verdict).toEqual(reason)
    expect(halving.restored).toHaveLength(51)
  })

  test('is dead-lettered to its end once something beyond it is accepted, however many events it has', () => {
    const size = probesBeyond + 5
    const culprits = Array.from({ length: size }, (_, index) => index + 1)
    const halving = new Halving(batches(size, 2), again)
    const { dead, to } = search(halving, refusing(...culprits))
    expect(halving.verdict).toBeUndefined()
    expect(dead).toEqual(culprits.map((number) => `request:${number}`))
    expect(to).toBe(`${size + 2}`)
  })

  test('goes no further than it is allowed requests', () => {
    const halving = new Halving(batches(250), { looksBeyond: true, probes: 10 })
    expect(search(halving, () => rejected).asked).toHaveLength(10)
    expect(halving.restored.map(({ to }) => to)).toEqual(['250'])
  })
})

describe('an answer that judges each event', () => {
  const answer = (outcome: Outcome) => {
    const halving = new Halving(batches(5), first)
    return { halving, step: halving.take(outcome) }
  }

  test('settles what was taken and what was refused for good, without another request', () => {
    const { halving, step } = answer(
      partial({ index: 0, outcome: rejected }, { index: 3, outcome: rejected }),
    )
    expect(step.settlement).toMatchObject({ to: '5', accepted: 3 })
    expect(step.settlement?.deadLetters.map(({ eventId }) => eventId)).toEqual(['request:1', 'request:4'])
    expect(halving.next).toBeUndefined()
  })

  test('settles what lies before the first event that may pass later, and remembers what was taken after it', () => {
    const { halving, step } = answer(
      partial(
        { index: 1, outcome: rejected },
        { index: 2, outcome: retry },
        { index: 4, outcome: unauthorized },
      ),
    )
    expect(step).toMatchObject({ settlement: { to: '2', accepted: 1 }, failure: retry })
    expect(halving.unsettled.map(({ from, to }) => [from, to])).toEqual([
      ['2', '3'],
      ['3', '4'],
      ['4', '5'],
    ])
    expect(halving.acceptedAhead.map(({ to }) => to)).toEqual(['4'])
  })

  test('that refuses every event is the destination’s fault', () => {
    const { halving, step } = answer(
      partial(...[0, 1, 2, 3, 4].map((index) => ({ index, outcome: rejected }))),
    )
    expect(step).toEqual({ settlement: undefined, failure: undefined })
    expect(halving.verdict).toEqual(reason)
    expect(halving.restored.map(({ to }) => to)).toEqual(['5'])
  })
})
