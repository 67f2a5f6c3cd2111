/**
 * What a source's `timestamp_column` says: as ISO 8601 (`instantOf`) and as a condition in SQL
 * (`stampedSince`). Both follow one rule, `units`, and a test holds them together.
 */

/**
 * A number counts what has passed since 1970, in the unit that its digits before the point tell: up to 11
 * are seconds, up to 14 milliseconds, up to 17 microseconds, more are nanoseconds. That is right for every
 * instant from 1973-03-03 (before which milliseconds look like seconds, and so on) to 5138-11-16 (from
 * which seconds look like milliseconds); seconds are right back to the year 1 too.
 */
const units = [
  { digits: 11, power: 0 },
  { digits: 14, power: 3 },
  { digits: 17, power: 6 },
  { digits: Number.POSITIVE_INFINITY, power: 9 },
] as const

const calendarTypes = new Set(['timestamp with time zone', 'timestamp without time zone', 'date'])
const numberTypes = new Set(['smallint', 'integer', 'bigint', 'numeric', 'real', 'double precision'])

/** Whether a column of this type can be a source's `timestamp_column`. */
export function saysInstant(type: string): boolean {
  return calendarTypes.has(type) || numberTypes.has(type)
}

/** How to read a column's text as an instant in ISO 8601, in UTC; undefined for what has no such form. */
export function instantOf(type: string): (text: string) => string | undefined {
  if (type === 'date') return (text) => isoInstant(`${text} 00:00:00`)
  if (calendarTypes.has(type)) return isoInstant
  if (numberTypes.has(type)) return epochInstant
  return () => undefined
}

/** A timestamp without a zone is taken as UTC, as the source's session reads it. */
function isoInstant(text: string): string | undefined {
  const usual = usualTimestamp(text)
  if (usual !== undefined) return usual
  // ISO 8601 has six digits for a year; a date of PostgreSQL may have seven.
  if (!hasIsoForm(text) || text.indexOf('-') > 6) return undefined
  const iso = anyTimestamp(text)
  return iso.endsWith('Z') ? iso : `${iso}Z`
}

/** The years 1 to 9999, which have four digits. */
const epochSeconds = { min: -62_135_596_800, max: 253_402_300_799 }

/** Epoch time as PostgreSQL writes a number → ISO 8601, digit by digit: all the value's own are kept. */
function epochInstant(text: string): string | undefined {
  const found = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(text)
  if (!found) return undefined
  const [, sign, whole = '', decimals = '', exponent = '0'] = found
  const [count, part] = movePoint(whole, decimals, Number(exponent))
  const { power } = units.find(({ digits }) => count.length <= digits) ?? units[3]
  const [seconds, fraction] = movePoint(count, part, -power)
  // Far beyond any year, and Number() would lose digits.
  if (seconds.length > 15) return undefined
  const [at, after] = sign ? before1970(seconds, fraction) : [Number(seconds), fraction]
  if (at < epochSeconds.min || at > epochSeconds.max) return undefined
  return `${new Date(at * 1_000).toISOString().slice(0, 19)}${after && `.${after}`}Z`
}

/** The digits before and after the decimal point, when it moves to the right (or, below 0, to the left). */
function movePoint(whole: string, decimals: string, by: number): [string, string] {
  const padded = by > 0 ? decimals.padEnd(by, '0') : whole.padStart(-by, '0')
  const [left, right] =
    by > 0
      ? [whole + padded.slice(0, by), padded.slice(by)]
      : [padded.slice(0, padded.length + by), padded.slice(padded.length + by) + decimals]
  return [left.replace(/^0+/, ''), right]
}

/** −1.25 s is 0.75 s after the second −2. */
function before1970(seconds: string, fraction: string): [number, string] {
  if (/^0*$/.test(fraction)) return [-Number(seconds), fraction]
  const rest = 10n ** BigInt(fraction.length) - BigInt(fraction)
  return [-Number(seconds) - 1, String(rest).padStart(fraction.length, '0')]
}

/**
 * A condition: the column is stamped at or after an instant. `reference` and `instant` are SQL, the latter
 * a text. An index on the column serves, except for types with a fraction. What PostgreSQL sorts after all
 * others (`infinity`, `NaN`) is after any instant.
 */
export function stampedSince(type: string, reference: string, instant: string): string {
  // In a sub-select of its own it is worked out once, not once a row.
  if (!numberTypes.has(type)) return `${reference} >= (SELECT ${instant}::timestamptz)`
  const epoch = `extract(epoch FROM ${instant}::timestamptz)`
  if (type === 'bigint')
    return `(${bigintRanges(epoch)
      .map((each) => each(reference))
      .join(' OR ')})`
  // The largest integer has ten digits. An infinity is no bigint.
  if (type === 'smallint' || type === 'integer')
    return `${reference} >= (SELECT ceil(greatest(least(${epoch}, 1e18), -1e18))::bigint)`
  // A float's text is exact here, its cast to numeric is not.
  const value = type === 'numeric' ? reference : `${reference}::text::numeric`
  const factors = units.map(({ digits, power }) =>
    Number.isFinite(digits) ? `WHEN abs(${value}) < 1e${digits} THEN 1e${power}` : `ELSE 1e${power}`,
  )
  return `${value} >= (SELECT ${epoch}) * CASE ${factors.join(' ')} END`
}

/** A range for each unit and sign, so that each can be looked up in an index. */
function bigintRanges(epoch: string): ((reference: string) => string)[] {
  const largest = 2n ** 63n - 1n
  return units.flatMap(({ digits, power }, index) => {
    const low = index === 0 ? 0n : 10n ** BigInt(units[index - 1]?.digits ?? 0)
    const high = Number.isFinite(digits) ? 10n ** BigInt(digits) - 1n : largest
    const range = (min: bigint, max: bigint) => (reference: string) => {
      const bound = `ceil(${epoch} * 1e${power})`
      return (
        `(${reference} >= (SELECT CASE WHEN ${bound} <= ${max} THEN greatest(${bound}, ${min}) END::bigint)` +
        ` AND ${reference} <= '${max}'::bigint)`
      )
    }
    if (index === 0) return [range(-high, high)]
    return [range(high === largest ? -largest - 1n : -high, -low), range(low, high)]
  })
}

/**
 * PostgreSQL's ISO style in UTC → ISO 8601: `2026-11-22 05:44:38.123456+00` → `2026-11-22T05:44:38.123456Z`.
 * Years beyond 9999 get the sign and the six digits of ISO's expanded form. `infinity` and years before
 * Christ stay as PostgreSQL writes them.
 */
export function isoTimestamp(text: string): string {
  return usualTimestamp(text) ?? anyTimestamp(text)
}

/** Of a year of four digits, in UTC: nearly every one that there is. */
function usualTimestamp(text: string): string | undefined {
  const isUsual = text.charCodeAt(4) === 0x2d && text.charCodeAt(10) === 0x20 && text.endsWith('+00')
  return isUsual ? `${text.slice(0, 10)}T${text.slice(11, -3)}Z` : undefined
}

function anyTimestamp(text: string): string {
  if (!hasIsoForm(text)) return text
  const yearDigits = text.indexOf('-')
  const iso = (yearDigits > 4 ? `+${text.padStart(text.length + 6 - yearDigits, '0')}` : text).replace(
    ' ',
    'T',
  )
  return iso.endsWith('+00') ? `${iso.slice(0, -3)}Z` : iso
}

function hasIsoForm(text: string): boolean {
  return !text.includes('BC') && !text.includes('infinity')
}
