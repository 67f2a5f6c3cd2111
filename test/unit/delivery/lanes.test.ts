import { describe, expect, test } from 'vitest'
import { Lanes } from '../../../src/delivery/lanes.ts'

const lane = (seats: number) => ({ seats, bytes: 100 })
const sizes = { healthy: lane(2), failing: lane(1), aside: lane(1) }
const never = new AbortController().signal

/** Whether it has come to pass by now. No time passes: only what is already decided runs. */
async function settled(work: Promise<unknown>): Promise<boolean> {
  let done = false
  const finish = () => {
    done = true
  }
  work.then(finish, finish)
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
  return done
}

describe('seats', () => {
  test('are as many as the lane has, and are given in the order of asking', async () => {
    const lanes = new Lanes(sizes)
    const first = await lanes.enter('healthy', never)
    const second = await lanes.enter('healthy', never)
    const order: string[] = []
    const third = lanes.enter('healthy', never).then((seat) => {
      order.push('third')
      return seat
    })
    const fourth = lanes.enter('healthy', never).then((seat) => {
      order.push('fourth')
      return seat
    })
    expect(await settled(third)).toBe(false)
    expect(first.contended).toBe(true)
    expect(lanes.contended).toBe(true)
    second.leave()
    await third
    expect(order).toEqual(['third'])
    first.leave()
    await fourth
    expect(order).toEqual(['third', 'fourth'])
    expect(lanes.contended).toBe(false)
  })

  test('of failing destinations are never those of healthy ones', async () => {
    const lanes = new Lanes(sizes)
    await lanes.enter('failing', never)
    const waiting = lanes.enter('failing', never)
    expect(await settled(waiting)).toBe(false)
    const seat = await lanes.enter('healthy', never)
    expect(seat.contended).toBe(false)
  })

  test('are not taken by one whose wait was aborted, and the next moves up', async () => {
    const lanes = new Lanes({ ...sizes, healthy: lane(1) })
    const holder = await lanes.enter('healthy', never)
    const abort = new AbortController()
    const given = lanes.enter('healthy', abort.signal)
    const patient = lanes.enter('healthy', never)
    abort.abort(new Error('stopping'))
    await expect(given).rejects.toThrow('stopping')
    holder.leave()
    const seat = await patient
    expect(seat.contended).toBe(false)
    seat.leave()
    await expect(lanes.enter('healthy', abort.signal)).rejects.toThrow('stopping')
  })

  test('are given back by a slow request that steps aside, once, and while there is room aside', async () => {
    const lanes = new Lanes(sizes)
    const slow = await lanes.enter('failing', never)
    const next = lanes.enter('failing', never)
    expect(await settled(next)).toBe(false)
    slow.stepAside()
    slow.stepAside()
    const second = await next
    const third = lanes.enter('failing', never)
    second.stepAside()
    expect(await settled(third)).toBe(false)
    slow.leave()
    second.stepAside()
    expect(await settled(third)).toBe(true)
  })
})

describe('bytes', () => {
  test('of failing destinations are never those of healthy ones', async () => {
    const lanes = new Lanes(sizes)
    const failing = await lanes.enter('failing', never)
    failing.hold(1_000)
    const healthy = await lanes.enter('healthy', never)
    expect(await healthy.reserve(100, never)).toBe(true)
  })

  test('go aside with a slow request, and stay with it where there is no room for them', async () => {
    const lanes = new Lanes({ ...sizes, healthy: lane(3) })
    const [slow, other, third] = await Promise.all([
      lanes.enter('healthy', never),
      lanes.enter('healthy', never),
      lanes.enter('healthy', never),
    ])
    await slow.reserve(60, never)
    const waiting = other.reserve(60, never)
    expect(await settled(waiting)).toBe(false)
    slow.stepAside()
    expect(await waiting).toBe(true)
    other.stepAside()
    const last = third.reserve(60, never)
    expect(await settled(last)).toBe(false)
    slow.leave()
    other.stepAside()
    expect(await last).toBe(true)
  })

  test('waited for while a request steps aside are paid for once, and come back to where they were taken', async () => {
    const lanes = new Lanes(sizes)
    const [one, other] = await Promise.all([lanes.enter('healthy', never), lanes.enter('healthy', never)])
    await one.reserve(100, never)
    const waiting = other.reserve(100, never)
    other.stepAside()
    one.leave()
    await waiting
    other.leave()
    const next = await lanes.enter('healthy', never)
    expect(await settled(next.reserve(100, never))).toBe(true)
  })

  test('of failing destinations are never those of healthy ones', async () => {
    const lanes = new Lanes(sizes)
    const failing = await lanes.enter('failing', never)
    await failing.reserve(100, never)
    const healthy = await lanes.enter('healthy', never)
    expect(await healthy.reserve(100, never)).toBe(true)
  })

  test('move aside with a slow request, or it keeps its place', async () => {
    const lanes = new Lanes(sizes)
    const slow = await lanes.enter('healthy', never)
    await slow.reserve(60, never)
    slow.stepAside()
    const next = await lanes.enter('healthy', never)
    expect(await next.reserve(100, never)).toBe(true)
    next.stepAside()
    expect(await settled(lanes.enter('healthy', never))).toBe(true)
    expect(await settled(lanes.enter('healthy', never))).toBe(false)
  })

  test('are waited for by a turn that holds none, and never by one that holds some', async () => {
    const lanes = new Lanes(sizes)
    const one = await lanes.enter('healthy', never)
    const other = await lanes.enter('healthy', never)
    expect(await one.reserve(80, never)).toBe(true)
    expect(await one.reserve(30, never)).toBe(false)
    const waiting = other.reserve(30, never)
    expect(await settled(waiting)).toBe(false)
    expect(one.contended).toBe(true)
    one.hold(70)
    expect(await waiting).toBe(true)
    expect(await one.reserve(1, never)).toBe(false)
  })

  test('that were really read count, also beyond the budget', async () => {
    const lanes = new Lanes(sizes)
    const one = await lanes.enter('healthy', never)
    await one.reserve(10, never)
    one.hold(150)
    const other = await lanes.enter('healthy', never)
    const waiting = other.reserve(1, never)
    one.hold(100)
    expect(await settled(waiting)).toBe(false)
    one.leave()
    expect(await waiting).toBe(true)
  })

  test('beyond the whole budget are asked for as the whole budget, so that they can be had', async () => {
    const lanes = new Lanes(sizes)
    const seat = await lanes.enter('healthy', never)
    expect(await seat.reserve(1_000_000, never)).toBe(true)
  })

  test('asked for by many are given in order: a large wish is not passed by small ones', async () => {
    const lanes = new Lanes({ ...sizes, healthy: lane(3) })
    const [one, two, three] = await Promise.all([
      lanes.enter('healthy', never),
      lanes.enter('healthy', never),
      lanes.enter('healthy', never),
    ])
    await one.reserve(50, never)
    const large = two.reserve(90, never)
    const small = three.reserve(10, never)
    expect(await settled(small)).toBe(false)
    one.leave()
    await Promise.all([large, small])
  })

  test('whose wait is aborted leave nothing behind', async () => {
    const lanes = new Lanes(sizes)
    const one = await lanes.enter('healthy', never)
    await one.reserve(100, never)
    const other = await lanes.enter('healthy', never)
    const abort = new AbortController()
    const waiting = other.reserve(50, abort.signal)
    abort.abort(new Error('stopping'))
    await expect(waiting).rejects.toThrow('stopping')
    other.leave()
    one.leave()
    const seat = await lanes.enter('healthy', never)
    await seat.reserve(100, never)
  })
})
