/**
 * A row's place in its source's total order, as text; the two orderings share columns and code.
 *
 * - `id`: the id in decimal digits, `42`.
 * - `xact`: the transaction that wrote the row and the row's key: `812/42` where the key is a number,
 *   `812/'0b9c…` where it is a uuid or a text. `812` alone lies before every row of transaction 812.
 *
 * Keys that are texts are ordered by their UTF-8 bytes, as PostgreSQL's collation "C" does: the order must
 * be the same here and there, whatever the database's own collation is.
 */
export type Position = string

/** Below every row of a table whose ids start at 1, and below every transaction. */
export const origin: Position = '0'

/** A position of the `xact` ordering in its parts. */
export interface XactPosition {
  /** An xid8 in decimal digits. */
  readonly xact: string
  /** Undefined before every row of the transaction. */
  readonly key: string | undefined
}

/** `1` when the row's key is a number, `'a` when it is a text. */
export function xactPosition(xact: string, key: string, keyIsNumber: boolean): Position {
  return `${xact}/${keyIsNumber ? '' : textMark}${key}`
}

export function parseXactPosition(position: Position): XactPosition {
  const end = numberEnd(position)
  if (end === position.length) return { xact: position, key: undefined }
  const key = position.slice(end + 1)
  return { xact: position.slice(0, end), key: key.startsWith(textMark) ? key.slice(1) : key }
}

/** Negative when `a` comes before `b`, positive when after, 0 when they are the same place. */
export function comparePositions(a: Position, b: Position): number {
  if (a === b) return 0
  const aEnd = numberEnd(a)
  const bEnd = numberEnd(b)
  // The usual case by far: two ids.
  if (aEnd === a.length && bEnd === b.length) return compareNumbers(a, b)
  return compareNumbers(a.slice(0, aEnd), b.slice(0, bEnd)) || compareKeys(a.slice(aEnd), b.slice(bEnd))
}

export function laterOf(a: Position, b: Position): Position {
  return comparePositions(a, b) >= 0 ? a : b
}

export function earlierOf(a: Position, b: Position): Position {
  return comparePositions(a, b) <= 0 ? a : b
}

/** The highest position that surely lies before a row. */
export function placeBefore(row: Position): Position {
  const end = numberEnd(row)
  return end === row.length ? String(BigInt(row) - 1n) : row.slice(0, end)
}

/** How far apart two positions are: the ids, or the transactions, between them. */
export function distanceBetween(a: Position, b: Position): number {
  return Number(BigInt(b.slice(0, numberEnd(b))) - BigInt(a.slice(0, numberEnd(a))))
}

/** Whether a text that somebody wrote can be a position of a source's order. */
export function isPosition(text: string, ordering: 'id' | 'xact'): boolean {
  const number = text.slice(0, numberEnd(text))
  if (ordering === 'id') return number === text && /^-?\d{1,19}$/.test(text)
  return /^\d{1,20}$/.test(number) && (number === text || /^\/(-?\d+|'.*)$/s.test(text.slice(number.length)))
}

const textMark = "'"
const minus = 45
const slash = '/'

function numberEnd(position: Position): number {
  const end = position.indexOf(slash)
  return end < 0 ? position.length : end
}

function compareNumbers(a: string, b: string): number {
  if (a === b) return 0
  // Same length and sign: digits compare as text.
  if (a.length === b.length && a.charCodeAt(0) !== minus && b.charCodeAt(0) !== minus) return a < b ? -1 : 1
  const difference = BigInt(a) - BigInt(b)
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}

/** With their slash; an empty one comes first. */
function compareKeys(a: string, b: string): number {
  if (a === '' || b === '') return a.length - b.length
  if (a.charAt(1) === textMark || b.charAt(1) === textMark)
    return Buffer.compare(Buffer.from(a), Buffer.from(b))
  return compareNumbers(a.slice(1), b.slice(1))
}
