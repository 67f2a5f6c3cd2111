/**
 * Given to a daemon's process by `--import`: its wall clock is wrong. The monotonic clock is not.
 *
 *   TEST_CLOCK_OFF_MS=3600000     an hour fast
 *   TEST_CLOCK_STEP_EVERY_MS=700  and right again, in turns, as if somebody set it over and over
 */
const offMs = Number(process.env.TEST_CLOCK_OFF_MS ?? 0)
const stepEveryMs = Number(process.env.TEST_CLOCK_STEP_EVERY_MS ?? Number.POSITIVE_INFINITY)
const RealDate = Date
const realNow = Date.now

function now(): number {
  const isOff = Math.floor(performance.now() / stepEveryMs) % 2 === 0
  return realNow() + (isOff ? offMs : 0)
}

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length > 0 ? args : [now()], newTarget),
  apply: () => new RealDate(now()).toString(),
  get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
})
