/** Times and numbers as people read them. Pure. */

const second = 1_000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

/** `850 ms`, `12 s`, `3 min`, `5 h`, `2 d`: rounded down, one unit. */
export function formatDuration(ms: number): string {
  if (ms < second) return `${Math.max(Math.floor(ms), 0)} ms`
  if (ms < minute) return `${Math.floor(ms / second)} s`
  if (ms < hour) return `${Math.floor(ms / minute)} min`
  if (ms < day) return `${Math.floor(ms / hour)} h`
  return `${Math.floor(ms / day)} d`
}

/** `12 s ago`; `never` for nothing. */
export function formatAgo(instant: Date | null, now: number): string {
  if (instant === null) return 'never'
  const ms = now - instant.getTime()
  // The database's clock may be a little ahead of ours.
  return ms < second ? 'just now' : `${formatDuration(ms)} ago`
}

export function formatCount(count: number): string {
  return count.toLocaleString('en-US')
}

/** `1 row`, `2,000 rows`. */
export function formatCountOf(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`
}
