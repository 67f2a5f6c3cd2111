/** Reproducible randomness: the seed is printed by the tests that use it, and read from SPILLWAY_TEST_SEED. */
export type Random = () => number

export function seedOf(): number {
  return Number(process.env.SPILLWAY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31))
}

/** Mulberry32: 32 bits of state are plenty for a test. In [0, 1). */
export function seeded(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export function pick<T>(random: Random, values: readonly [T, ...T[]]): T {
  return values[Math.floor(random() * values.length)] ?? values[0]
}
