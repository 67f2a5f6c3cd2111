/** The one of `names` that `written` was probably meant to be, for "did you mean". */
export function suggest(written: string, names: Iterable<string>): string | undefined {
  const plain = simplify(written)
  let best: string | undefined
  // Two slips at most, and never more than a third of the word: `id` is no misspelt `url`.
  let bestDistance = Math.min(2, Math.floor(plain.length / 3)) + 1
  for (const name of names) {
    const distance = editDistance(plain, simplify(name))
    if (distance < bestDistance) {
      best = name
      bestDistance = distance
    }
  }
  return best
}

/** `timeout_ms`, `Timeout-Ms` and `timeoutMs` are the same word to a person. */
function simplify(name: string): string {
  return name
    .slice(0, 64)
    .toLowerCase()
    .replaceAll(/[^a-z0-9.]/g, '')
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const current = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const substituted = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      current.push(Math.min(substituted, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1))
    }
    previous = current
  }
  return previous[b.length] ?? 0
}
