/**
 * The last net under I8 and I9: whatever gets into a log line is bounded in size, and what looks like a
 * credential is taken out. The first net is that nobody puts one in.
 */

const SECRET_KEY = /authorization|token|password|secret|api[-_]?key/i
const REDACTED = '[redacted]'

/** Long enough for a sentence and an SQL error; a line stays far below the 16 KiB at which Docker splits it. */
const MAX_TEXT = 1_000
const MAX_ITEMS = 50
const MAX_DEPTH = 4
/** A wrapped error rarely has more layers; a cycle of causes would have no end. */
const MAX_CAUSES = 5
const MAX_FRAMES = 12

/** Plain data that JSON can take. Strings, lists and depth are cut; values under a secret's name replaced. */
export function sanitize(value: unknown, depth = 0): unknown {
  switch (typeof value) {
    case 'string':
      return boundText(value)
    case 'number':
      // NaN and Infinity would be null.
      return Number.isFinite(value) ? value : String(value)
    case 'boolean':
    case 'undefined':
      return value
    case 'bigint':
      return value.toString()
    case 'object':
      break
    default:
      return `[${typeof value}]`
  }
  if (value === null) return null
  if (value instanceof Error) return describeError(value)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString()
  if (depth >= MAX_DEPTH) return '[nested]'
  if (Array.isArray(value)) {
    const items = value.slice(0, MAX_ITEMS).map((item) => sanitize(item, depth + 1))
    return value.length > MAX_ITEMS ? [...items, `and ${value.length - MAX_ITEMS} more`] : items
  }
  return sanitizeRecord(value, depth + 1)
}

export function sanitizeRecord(value: object, depth = 0): Record<string, unknown> {
  const entries = Object.entries(value).slice(0, MAX_ITEMS)
  return Object.fromEntries(
    entries.map(([key, inner]) => [key, SECRET_KEY.test(key) ? REDACTED : sanitize(inner, depth)]),
  )
}

export interface ErrorDescription {
  readonly name: string
  readonly message: string
  readonly code?: string
  readonly hint?: string
  readonly stack?: readonly string[]
  readonly cause?: ErrorDescription
  /** Of an `AggregateError`, e.g. one for each address that refused a connection. */
  readonly errors?: readonly ErrorDescription[]
}

/**
 * What is said of an error. Never its other properties: drivers and HTTP clients hang queries, parameters
 * and headers on theirs. The stack comes only with errors that have no hint, for those nobody foresaw.
 */
export function describeError(error: unknown, depth = 0): ErrorDescription {
  if (!(error instanceof Error)) return { name: typeof error, message: boundText(safeString(error)) }
  const code = 'code' in error && typeof error.code === 'string' ? boundText(error.code) : undefined
  const hint = 'hint' in error && typeof error.hint === 'string' ? boundText(error.hint) : undefined
  const frames = depth === 0 && hint === undefined ? framesOf(error) : []
  const deeper = depth < MAX_CAUSES
  const inner = deeper && error instanceof AggregateError ? error.errors.slice(0, 3) : []
  return {
    name: boundText(String(error.name)),
    message: boundText(String(error.message)),
    ...(code !== undefined && { code }),
    ...(hint !== undefined && { hint }),
    ...(frames.length > 0 && { stack: frames }),
    ...(deeper && error.cause !== undefined && { cause: describeError(error.cause, depth + 1) }),
    ...(inner.length > 0 && { errors: inner.map((each: unknown) => describeError(each, depth + 1)) }),
  }
}

/** Cuts a text and takes the credentials out of URLs and `Authorization` values that it quotes. */
function boundText(value: string): string {
  // Cut first with room to spare, so that the patterns never run over megabytes.
  const scrubbed = value
    .slice(0, 2 * MAX_TEXT)
    .replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi, `$1${REDACTED}@`)
    // With a digit or a sign in it, or "basic authentication" would go too.
    .replace(/\b(bearer|basic|splunk)\s+(?=\S*[0-9_=+/])[A-Za-z0-9._~+/=-]{8,}/gi, `$1 ${REDACTED}`)
  const isCut = value.length > 2 * MAX_TEXT || scrubbed.length > MAX_TEXT
  return isCut ? `${scrubbed.slice(0, MAX_TEXT)}…` : scrubbed
}

/** Only the frames: the stack's head repeats the message, unbounded. */
function framesOf(error: Error): string[] {
  const lines = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line))
  return lines.slice(0, MAX_FRAMES).map((line) => boundText(line.trim()))
}

function safeString(value: unknown): string {
  // An object's own toString may throw or say anything.
  return typeof value === 'object' && value !== null ? 'a thrown object' : String(value)
}
