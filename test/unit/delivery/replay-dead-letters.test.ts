import { expect, test } from 'vitest'
import { DeadLetterReader } from '../../../src/delivery/replay-dead-letters.ts'
import type { PageLimit, ReadRow } from '../../../src/sources/reader.ts'

/** Rows by id, each of some size; a page ends when its rows come to the limit. */
function readerOf(sizes: Readonly<Record<string, number>>) {
  return {
    async readRows(_: unknown, ids: readonly string[], limit: PageLimit) {
      const rows: ReadRow[] = []
      let bytes = 0
      for (const id of Object.keys(sizes).toSorted((a, b) => Number(a) - Number(b))) {
        if (!ids.includes(id) || (rows.length > 0 && bytes >= limit.bytes)) continue
        bytes += sizes[id] ?? 0
        const event = { id: `request:${id}`, logType: 'request', timestamp: '', timestampMs: 0, orgId: null }
        rows.push({ position: id, event: { ...event, dataJson: '{}' } })
      }
      return { rows, last: rows.at(-1)?.position, full: bytes >= limit.bytes, oldest: undefined }
    },
  }
}

/** Reads page after page, as a stream does. */
async function readAll(
  letters: readonly string[],
  sizes: Readonly<Record<string, number>>,
  limit: PageLimit,
) {
  const all = letters.map((row, index) => ({ id: String(index + 1), event_id: `request:${row}` }))
  const facts = {
    deadLetters: async (_: unknown, after: string, upTo: string, count: number) =>
      all.filter(({ id }) => Number(id) > Number(after) && Number(id) <= Number(upTo)).slice(0, count),
  }
  const range = { logType: 'request', life: 'a' }
  const reader = new DeadLetterReader(facts, readerOf(sizes), 1, range)
  const read: string[] = []
  let after = '0'
  for (let pages = 1; ; pages++) {
    const upTo = String(all.length)
    const page = await reader.readPage({ orgId: null }, { after, upTo }, limit, (row) => row)
    read.push(...page.rows.map(({ position, event }) => `${position}=${event.id}`))
    if (!page.full) return { read, pages }
    after = page.last ?? upTo
  }
}

test('reads the rows in the order of the letters, and leaves out those that are gone', async () => {
  const { read } = await readAll(['5', '3', '9', '1'], { 1: 1, 3: 1, 5: 1 }, { rows: 100, bytes: 1_000 })
  expect(read).toEqual(['1=request:5', '2=request:3', '4=request:1'])
})

test('takes as many pages as the limits ask for, and passes none over', async () => {
  const sizes = Object.fromEntries(Array.from({ length: 30 }, (_, id) => [id, 40]))
  const letters = Array.from({ length: 30 }, (_, index) => String((index * 7) % 31))
  const expected = letters.flatMap((row, index) => (row in sizes ? [`${index + 1}=request:${row}`] : []))
  for (const limit of [
    { rows: 4, bytes: 1_000 },
    { rows: 100, bytes: 90 },
    { rows: 100, bytes: 1 },
  ]) {
    const { read, pages } = await readAll(letters, sizes, limit)
    expect(read).toEqual(expected)
    expect(pages).toBeGreaterThan(5)
  }
})
