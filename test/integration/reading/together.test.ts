/** What is read for many at once is what each would have read alone, in fewer statements. */
import { describe, expect, test } from 'vitest'
import type { SourceSql } from '../../../src/db/client.ts'
import { Lanes } from '../../../src/delivery/lanes.ts'
import { Stream } from '../../../src/delivery/stream.ts'
import type { PageReader } from '../../../src/delivery/stream-source.ts'
import { resolveSource } from '../../../src/sources/catalog.ts'
import { type Page, Reader, type ReadRow } from '../../../src/sources/reader.ts'
import type { Range, Scope } from '../../../src/sources/selection.ts'
import type { SourceDefinition } from '../../../src/sources/source.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { pick, type Random, seeded, seedOf } from '../../support/random.ts'
import { RememberedSpans } from '../../support/spans.ts'
import { define, freshTable, readerOf, sourcePool } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)
const limit = { rows: 2_000, bytes: 1_000_000 }
const asItIs = (row: ReadRow) => row

/** A reader, and how often it asked: for one page, or for many. */
async function countingReader(definition: SourceDefinition, source: SourceSql = pool) {
  const spans = new RememberedSpans()
  const reader = new Reader(source, await resolveSource(source, definition), spans)
  const count = (name: string) => spans.ended.filter((span) => span.name === name).length
  return {
    reader,
    statements: () => ({ alone: count('spillway.read_page'), together: count('spillway.read_pages') }),
  }
}

/** Readers of their own: nobody asks at the same time. */
function aloneReader(definition: SourceDefinition): PageReader {
  return {
    readPage: async (scope, range, limit, make) =>
      (await readerOf(pool, definition)).readPage(scope, range, limit, make),
  }
}

/** Which of the rows that share a place comes first is the plan's to choose: their events stand by their text here. */
function tiesSorted({ rows, ...page }: Page) {
  const events = rows.map(({ position, event }) => ({ position, event }))
  const byText = events.toSorted((a, b) =>
    a.position === b.position ? (a.event.dataJson < b.event.dataJson ? -1 : 1) : 0,
  )
  return { ...page, events: byText, marks: rows.map(({ event, ...marks }) => marks) }
}

const orgsOf = (count: number) => Array.from({ length: count }, (_, index) => `org ${index}`)

test('two hundred tenants with new rows take a handful of statements', async () => {
  const definition = await freshTable(database, ', note text')
  const orgs = orgsOf(200)
  await sql.unsafe(`INSERT INTO ${definition.relation} (org_id, note)
    SELECT 'org ' || g % 200, 'of ' || g % 200 FROM generate_series(1, 400) g`)
  const { reader, statements } = await countingReader(definition)
  const range = { after: '0', upTo: '400' }
  const pages = await Promise.all(orgs.map((orgId) => reader.readPage({ orgId }, range, limit, asItIs)))
  expect(statements()).toEqual({ alone: 0, together: 4 })
  for (const [index, { rows }] of pages.entries()) {
    expect(rows.map(({ event }) => event.orgId)).toEqual([orgs[index], orgs[index]])
    expect(rows.map(({ event }) => JSON.parse(event.dataJson).note)).toEqual([`of ${index}`, `of ${index}`])
  }
})

interface Form {
  readonly name: string
  readonly columns: string
  readonly definition: Partial<SourceDefinition>
  readonly orgs: readonly [string, ...string[]]
  key(random: Random): string
}

const uuid = (digits: number) => `0b9c1d3e-0000-4000-8000-${String(digits).padStart(12, '0')}`
const small = (random: Random) => String(Math.floor(random() * 60))
const forms: readonly Form[] = [
  {
    name: 'ids and texts',
    columns: 'id bigint NOT NULL, org_id text',
    definition: {},
    orgs: ['a', 'A', 'a ', '', "'", 'ä', '%'],
    key: small,
  },
  {
    name: 'ids and uuids',
    columns: 'id int NOT NULL, org_id uuid',
    definition: {},
    // The last ones name nobody, though PostgreSQL would take them for the first.
    orgs: [uuid(1), uuid(2), uuid(3), uuid(4).toUpperCase(), `{${uuid(1)}}`],
    key: small,
  },
  {
    name: 'transactions and numbers',
    columns: 'id bigint NOT NULL, org_id smallint, xact xid8 NOT NULL',
    definition: { ordering: 'xact', xactColumn: 'xact' },
    orgs: ['1', '2', '3', '-4', '01', 'x'],
    key: small,
  },
  {
    name: 'transactions and texts',
    columns: 'id text NOT NULL, org_id varchar(9), xact xid8 NOT NULL',
    definition: { ordering: 'xact', xactColumn: 'xact' },
    orgs: ['a', 'b', 'ä', '/'],
    key: (random) => pick(random, ['a', 'B', 'ä', "'", '/']),
  },
]

describe.each(forms)('$name', ({ columns, definition: changes, orgs, key }) => {
  const isXact = changes.ordering === 'xact'

  test('come as they come to one who reads alone, whatever is there and whoever asks', async () => {
    const seed = seedOf()
    const random = seeded(seed)
    const name = `random_${forms.findIndex((form) => form.columns === columns)}`
    await sql.unsafe(`
      CREATE TABLE ${name} (${columns}, at timestamptz NOT NULL DEFAULT '2026-01-01', note text);
      CREATE INDEX ON ${name} (${isXact ? 'xact, id' : 'id'})`)
    const definition = define({ relation: `public.${name}`, ...changes })
    const alone = aloneReader(definition)
    const { reader, statements } = await countingReader(definition)
    const taken = new Set(orgs)
    let pages = 0
    for (let round = 0; round < 12; round++) {
      await sql.unsafe(`TRUNCATE ${name}`)
      // An empty table, rows that share a place, rows of nobody, and now and then one that is large.
      const owned = orgs.filter((org) => !/^0\d|^x|[A-F]{2}|^\{|C1D/.test(org))
      const rows = Array.from({ length: Math.floor(random() * 300) * Number(round > 0) }, () => {
        const note = 'n'.repeat(random() < 0.02 ? 140_000 : Math.floor(random() * 3_000))
        const org = random() < 0.1 ? null : pick(random, [owned[0] ?? '', ...owned])
        return { id: key(random), org_id: org, note, ...(isXact && { xact: small(random) }) }
      })
      const columnsOf = `id, org_id, note${isXact ? ', xact' : ''}`
      await sql.unsafe(
        `INSERT INTO ${name} (${columnsOf})
         SELECT ${columnsOf} FROM jsonb_populate_recordset(NULL::${name}, $1::text::jsonb)`,
        [JSON.stringify(rows)],
      )
      const upTo = small(random)
      const asked = Array.from({ length: 20 }, (): { scope: Scope; range: Range } => {
        const place =
          isXact && random() < 0.2 ? `${small(random)}/${/^\d/.test(key(random)) ? 5 : "'a"}` : small(random)
        return { scope: { orgId: pick(random, [orgs[0], ...taken]) }, range: { after: place, upTo } }
      })
      const limits = asked.map(() => ({ rows: pick(random, [1, 3, 10, 2_000]), bytes: 1_000_000 }))
      const together = await Promise.all(
        asked.map(({ scope, range }, index) => reader.readPage(scope, range, limits[index] ?? limit, asItIs)),
      )
      for (const [index, { scope, range }] of asked.entries()) {
        const expected = await alone.readPage(scope, range, limits[index] ?? limit, asItIs)
        const page = together[index]
        expect(page && tiesSorted(page), `seed ${seed}, round ${round}`).toEqual(tiesSorted(expected))
        pages += 1
      }
    }
    // Most were read together, or nothing was compared.
    expect(statements().together).toBeGreaterThan(6)
    expect(statements().alone).toBeLessThan(pages)
  }, 60_000)
})

test('who has more than a few rows, or a large one, reads its page itself, and the others do not wait for it', async () => {
  const definition = await freshTable(database, ', note text')
  await sql.unsafe(`INSERT INTO ${definition.relation} (org_id, note)
    SELECT 'many', '' FROM generate_series(1, 101) UNION ALL SELECT 'few', '' FROM generate_series(1, 100)
    UNION ALL SELECT 'large', repeat('x', 200000) UNION ALL SELECT 'one', ''`)
  const { reader, statements } = await countingReader(definition)
  const range = { after: '0', upTo: '999' }
  const read = (orgId: string) => reader.readPage({ orgId }, range, limit, asItIs)
  const pages = await Promise.all(['many', 'few', 'large', 'one', 'none'].map(read))
  expect(pages.map(({ rows }) => rows.length)).toEqual([101, 100, 1, 1, 0])
  expect(pages[2]?.rows[0]?.event.dataJson.length).toBeGreaterThan(200_000)
  expect(statements()).toEqual({ together: 1, alone: 2 })
})

test.each<[string, Scope, Range]>([
  ['is for all tenants', { orgId: null }, { after: '0', upTo: '300' }],
  [
    'has just begun',
    { orgId: 'a', start: { kind: 'ids', until: '9', xid: '3', seen: '{}' } },
    { after: '0', upTo: '300' },
  ],
  ['takes rows by their time', { orgId: 'a', stamped: { since: '2026-01-01' } }, { after: '0', upTo: '300' }],
  ['is far behind', { orgId: 'a' }, { after: '-200000', upTo: '300' }],
])('a stream that %s reads alone', async (_, scope, range) => {
  const { reader, statements } = await countingReader(await freshTable(database))
  await Promise.all([1, 2, 3, 4].map(() => reader.readPage(scope, range, limit, asItIs)))
  expect(statements()).toEqual({ together: 0, alone: 4 })
})

test('no index in the order of the source: each reads alone', async () => {
  const definition = await freshTable(database)
  await sql.unsafe(`ALTER TABLE ${definition.relation} DROP CONSTRAINT ${definition.relation.slice(7)}_pkey`)
  const { reader, statements } = await countingReader(definition)
  const range = { after: '0', upTo: '300' }
  await Promise.all(orgsOf(4).map((orgId) => reader.readPage({ orgId }, range, limit, asItIs)))
  expect(statements()).toEqual({ together: 0, alone: 4 })
})

test('a table that has changed is not read as it was', async () => {
  const definition = await freshTable(database, ', n int')
  await sql.unsafe(`INSERT INTO ${definition.relation} (org_id, n) VALUES ('a', 1), ('b', 1), ('c', 1)`)
  const { reader } = await countingReader(definition)
  await sql.unsafe(`ALTER TABLE ${definition.relation} ALTER n TYPE text USING 'not json'`)
  const range = { after: '0', upTo: '300' }
  const read = (orgId: string) => reader.readPage({ orgId }, range, limit, asItIs)
  for (const page of await Promise.allSettled(['a', 'b', 'c'].map(read))) {
    expect(page).toMatchObject({ status: 'rejected' })
  }
})

test('a statement for many that waits for a lock of somebody’s is not waited for, nor asked again for some time', async () => {
  const definition = await freshTable(database)
  await sql.unsafe(`INSERT INTO ${definition.relation} (org_id) VALUES ('a'), ('b'), ('c')`)
  const held = Promise.withResolvers<void>()
  const slow: SourceSql = {
    ...pool,
    async each(statement, parameters, options, onRow) {
      if (statement.includes('jsonb_to_recordset')) await held.promise
      await pool.each(statement, parameters, options, onRow)
    },
  }
  const { reader, statements } = await countingReader(definition, slow)
  const read = (orgId: string) => reader.readPage({ orgId }, { after: '0', upTo: '300' }, limit, asItIs)
  for (let round = 1; round <= 2; round++) {
    const pages = await Promise.all(['a', 'b', 'c'].map(read))
    expect(pages.map(({ last }) => last)).toEqual(['1', '2', '3'])
    expect(statements()).toEqual({ together: 0, alone: 3 * round })
  }
  held.resolve()
})

test('batches are the same, to their ids and bytes', async () => {
  const definition = await freshTable(database, ', note text')
  await sql.unsafe(`INSERT INTO ${definition.relation} (org_id, note)
    SELECT 'org ' || g * g % 40, repeat('ä', g % 900) FROM generate_series(1, 900) g`)
  const { reader, statements } = await countingReader(definition)
  const lanes = new Lanes({
    healthy: { seats: 40, bytes: 48 << 20 },
    failing: { seats: 1, bytes: 1 },
    aside: { seats: 1, bytes: 1 },
  })
  const { signal } = new AbortController()
  const batches = async (pages: PageReader, orgId: string, destinationId: number) => {
    const rules = { destinationId, logType: 'test', batchSize: 7 }
    const limits = { maxEvents: 100, maxBytes: 9_000, maxEventBytes: 9_000 }
    const framing = { prefix: '[', separator: ',', suffix: ']', gzip: false }
    const stream = new Stream({
      cursor: { life: 'one', position: '3', frozen: [] },
      orgId,
      source: { reader: pages, horizon: '880', oldest: '1' },
      rules: { ...rules, limits, framing },
      encode: ({ dataJson }) => dataJson,
      oldestBefore: () => '1',
      now: () => 0,
    })
    stream.wake('4')
    const seat = await lanes.enter('healthy', signal)
    const cut = await stream.next(100, seat, signal)
    seat.leave()
    return cut.map(({ id, from, to, events }) => ({ id, from, to, bodies: events.map(({ body }) => body) }))
  }
  const orgs = orgsOf(40)
  const together = await Promise.all(orgs.map((org, index) => batches(reader, org, index)))
  expect(statements()).toMatchObject({ together: 1 })
  const alone = aloneReader(definition)
  for (const [index, org] of orgs.entries()) expect(together[index]).toEqual(await batches(alone, org, index))
  expect(together.flat().length).toBeGreaterThan(40)
})
