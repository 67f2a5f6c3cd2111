/**
 * A row's place in its source's total order, as text. Under the `id` ordering it is the id in decimal
 * digits; text keeps a `bigint` exact and lets other orderings share the columns and the code.
 */
export type Position = string

/** Below every row of a table whose ids start at 1. */
export const origin: Position = '0'

/** Negative when `a` comes before `b`, positive when after, 0 when they are the same place. */
export function comparePositions(a: Position, b: Position): number {
  if (a === b) return 0
  // Same length and sign, the usual case by far: digits compare as text.
  if (a.length === b.length && a.charCodeAt(0) !== minus && b.charCodeAt(0) !== minus) return a < b ? -1 : 1
  const difference = BigInt(a) - BigInt(b)
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}

const minus = 45

/** How far apart two positions are at most in rows; ids leave gaps, so it is an upper bound. */
export function distance(from: Position, to: Position): number {
  return Number(BigInt(to) - BigInt(from))
}
