import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { instantOf, stampedSince } from '../../../src/events/timestamp.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { define, readerOf, sourcePool } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)
let tables = 0

async function tableOf(type: string, values: string) {
  const relation = `public.stamped_${++tables}`
  await sql.unsafe(`
    CREATE TABLE ${relation} (id bigserial PRIMARY KEY, "the time" ${type});
    INSERT INTO ${relation} ("the time") VALUES ${values}`)
  const reader = await readerOf(pool, define({ relation, orgColumn: null, timestampColumn: 'the time' }))
  return { relation, reader }
}

const none = '1970-01-01T00:00:00Z'
const limit = { rows: 99, bytes: 1e9 }

describe('a timestamp column of', () => {
  test.each([
    ['smallint', '32767', '1970-01-01T09:06:07Z', 32767],
    ['integer', '1700000000', '2023-11-14T22:13:20Z', 1700000000],
    ['integer', '-1', '1969-12-31T23:59:59Z', -1],
    ['bigint', '1700000000', '2023-11-14T22:13:20Z', 1700000000],
    ['bigint', '1700000000120', '2023-11-14T22:13:20.120Z', 1700000000120],
    ['bigint', '1700000000123456', '2023-11-14T22:13:20.123456Z', 1700000000123456],
    ['bigint', '1700000000123456789', '2023-11-14T22:13:20.123456789Z', '1700000000123456789'],
    ['bigint', '9223372036854775807', '2262-04-11T23:47:16.854775807Z', '9223372036854775807'],
    ['bigint', '99999999999', '5138-11-16T09:46:39Z', 99999999999],
    ['bigint', '100000000000', '1973-03-03T09:46:40.000Z', 100000000000],
    ['numeric', '1700000000.1234567890123', '2023-11-14T22:13:20.1234567890123Z', '1700000000.1234567890123'],
    ['numeric', '1700000000.50', '2023-11-14T22:13:20.50Z', '1700000000.50'],
    ['numeric', '-1.25', '1969-12-31T23:59:58.75Z', '-1.25'],
    ['numeric', `'NaN'`, none, 'NaN'],
    ['numeric', `'Infinity'`, none, 'Infinity'],
    ['numeric', '1e131000', none, `1${'0'.repeat(131_000)}`],
    ['real', '1700000000', '2023-11-14T22:13:20Z', 1.7e9],
    ['double precision', '1700000000.125', '2023-11-14T22:13:20.125Z', 1700000000.125],
    ['double precision', '1.7000000001235e18', '2023-11-14T22:13:20.123500000Z', 1.7000000001235e18],
    ['double precision', `'-Infinity'`, none, '-Infinity'],
    ['date', `'2026-03-01'`, '2026-03-01T00:00:00Z', '2026-03-01'],
    ['date', `'12026-03-01'`, '+012026-03-01T00:00:00Z', '12026-03-01'],
    ['date', `'5874897-12-31'`, none, '5874897-12-31'],
    ['date', `'infinity'`, none, 'infinity'],
    ['date', `'0044-03-15 BC'`, none, '0044-03-15 BC'],
    ['timestamp', `'2026-03-01 12:00:00.5'`, '2026-03-01T12:00:00.5Z', '2026-03-01T12:00:00.5'],
    [
      'timestamptz',
      `'294276-12-31 23:59:59.999999Z'`,
      '+294276-12-31T23:59:59.999999Z',
      '+294276-12-31T23:59:59.999999Z',
    ],
    ['timestamptz', `'0001-01-01 00:00:00Z'`, '0001-01-01T00:00:00Z', '0001-01-01T00:00:00Z'],
    ['bigint', 'NULL', none, null],
  ])('%s with %s says %s, and the data says what it holds', async (type, value, timestamp, raw) => {
    const { reader } = await tableOf(type, `(${value})`)
    const page = await reader.readPage({ orgId: null }, { after: '0', upTo: '9' }, limit)
    expect(page.rows[0]?.event.timestamp).toBe(timestamp)
    expect(page.rows[0]?.event.timestampMs).toBe(Date.parse(timestamp) || 0)
    expect(JSON.parse(page.rows[0]?.event.dataJson ?? '')['the time']).toBe(raw)
  })

  test('a domain is read as what is beneath', async () => {
    await sql.unsafe('CREATE DOMAIN public.unix AS bigint CHECK (VALUE > 0)')
    const { reader } = await tableOf('public.unix', '(1700000000123), (1700000001123)')
    const page = await reader.readPage({ orgId: null }, { after: '0', upTo: '9' }, limit)
    expect(page.rows[0]?.event.timestamp).toBe('2023-11-14T22:13:20.123Z')
    expect(await reader.before('2023-11-14T22:13:21Z')).toBe('1')
  })
})

describe('the first row at or after an instant is found in', () => {
  test.each([
    ['integer', '(1700000000), (1700000001), (1700000002)'],
    ['bigint', '(1700000000), (1700000001), (1700000002)'],
    ['bigint', '(1700000000000), (1700000001000), (1700000002000)'],
    ['bigint', '(1700000000000000), (1700000001000000), (1700000002000000)'],
    ['bigint', '(1700000000000000000), (1700000001000000000), (1700000002000000000)'],
    ['bigint', '(1700000000), (1700000001000), (1700000002000000)'],
    ['numeric', '(1700000000.0), (1700000001), (1700000002000)'],
    ['double precision', '(1700000000), (1700000001000), (1.700000002e18)'],
    ['timestamptz', `('2023-11-14T22:13:20Z'), ('2023-11-14T22:13:21Z'), ('2023-11-14T22:13:22Z')`],
    ['timestamp', `('2023-11-14T22:13:20'), ('2023-11-14T22:13:21'), ('2023-11-14T22:13:22')`],
  ])('%s: %s', async (type, values) => {
    const { reader } = await tableOf(type, values)
    expect(await reader.before('2023-11-14T22:13:19Z')).toBe('0')
    expect(await reader.before('2023-11-14T22:13:20Z')).toBe('0')
    expect(await reader.before('2023-11-14T22:13:20.000001Z')).toBe('1')
    expect(await reader.before('2023-11-14T23:13:21+01:00')).toBe('1')
    expect(await reader.before('2023-11-14T22:13:22Z')).toBe('2')
    expect(await reader.before('2023-11-14T22:13:22.000001Z')).toBeUndefined()
  })

  test.each([
    'smallint',
    'integer',
    'bigint',
    'numeric',
    'double precision',
    'date',
    'timestamp',
    'timestamptz',
  ])('%s, where the instant is an infinity', async (type) => {
    const isNumber = !/date|timestamp/.test(type)
    const { reader } = await tableOf(type, isNumber ? '(17)' : `('2023-11-14')`)
    expect(await reader.before('-infinity')).toBe('0')
    expect(await reader.before('infinity')).toBeUndefined()
  })

  test('dates', async () => {
    const { reader } = await tableOf('date', `('2023-11-14'), ('2023-11-15')`)
    expect(await reader.before('2023-11-14T00:00:00Z')).toBe('0')
    expect(await reader.before('2023-11-14T00:00:01Z')).toBe('1')
  })

  test.each(['smallint', 'integer', 'bigint', 'numeric', 'date', 'timestamp', 'timestamptz'])(
    '%s, with an index on the column',
    async (type) => {
      const { relation } = await tableOf(type, '(NULL)')
      await sql.unsafe(`CREATE INDEX ON ${relation} ("the time")`)
      const plan = await sql.begin(async (session) => {
        await session.unsafe('SET LOCAL enable_seqscan = off')
        return session.unsafe(
          `EXPLAIN SELECT id FROM ${relation} t WHERE ${stampedSince(type, 't."the time"', `'2026-01-01'::text`)}`,
        )
      })
      const text = plan.map((line) => line['QUERY PLAN']).join('\n')
      if (type === 'numeric') expect(text).toContain('Seq Scan')
      else expect(text).toContain('Index Cond')
    },
  )
})

/** A double may have this many digits after the point. */
const scale = 1_100
const microsecond = 10n ** BigInt(scale - 6)

/** An instant in ISO 8601 as a whole number of 10^-scale s. */
function exactly(iso: string): bigint {
  const [, whole = '', fraction = ''] = /^(.{19})(?:\.(\d+))?Z$/.exec(iso) ?? []
  return BigInt(Date.parse(`${whole}Z`) / 1_000) * 10n ** BigInt(scale) + BigInt(fraction.padEnd(scale, '0'))
}

test('whatever the number, its instant and the condition in SQL say the same', async () => {
  const limits = [11, 14, 17].flatMap((digits) => [10n ** BigInt(digits), 10n ** BigInt(digits) - 1n])
  const bigint = fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.constantFrom(...limits, 0n, 2n ** 63n - 1n, -(2n ** 63n)),
    fc.constantFrom(...limits.map((each) => -each)),
    fc
      .tuple(fc.integer({ min: 1_600_000_000, max: 1_800_000_000 }), fc.constantFrom(0, 3, 6, 9))
      .map(([seconds, power]) => BigInt(seconds) * 10n ** BigInt(power)),
  )
  const value = fc.oneof(
    fc.tuple(fc.constant('bigint'), bigint.map(String)),
    fc.tuple(fc.constant('integer'), fc.integer().map(String)),
    fc.tuple(fc.constant('smallint'), fc.integer({ min: -32768, max: 32767 }).map(String)),
    fc.tuple(
      fc.constant('numeric'),
      fc.tuple(bigint, fc.stringMatching(/^\d{0,12}$/)).map(([whole, part]) => `${whole}.${part}0`),
    ),
    fc.tuple(
      fc.constantFrom('double precision', 'real'),
      fc
        .oneof(fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e19, max: 1e19 }), bigint.map(Number))
        .map((each) => String(Math.fround(each))),
    ),
    fc.tuple(
      fc.constant('double precision'),
      fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e19, max: 1e19 }).map(String),
    ),
  )
  /** The instant itself, or one a little beside it, or any. */
  const probe = fc.oneof(
    fc.constantFrom(-1_000_000n, -1n, 0n, 1n, 1_000_000n).map((microseconds) => ({ microseconds })),
    fc
      .date({
        min: new Date('0001-01-01T00:00:00Z'),
        max: new Date('9999-12-31T00:00:00Z'),
        noInvalidDate: true,
      })
      .map((at) => ({ at })),
  )
  const cases = fc.sample(fc.tuple(value, probe), { seed: 5, numRuns: 3_000 })
  const texts = await pool.query<{ at: string; text: string }>(
    `SELECT at, CASE type ${['bigint', 'integer', 'smallint', 'numeric', 'double precision', 'real'].map((type) => `WHEN '${type}' THEN value::${type}::text`).join(' ')} END AS text
     FROM jsonb_to_recordset($1::text::jsonb) AS x(at int, type text, value text) ORDER BY at`,
    [JSON.stringify(cases.map(([[type, text], _], at) => ({ at, type, value: text })))],
  )
  const asked = texts.flatMap(({ text }, at) => {
    const [[type, value], near] = cases[at] ?? [['', ''], { microseconds: 0n }]
    const iso = instantOf(type)(text)
    if (iso === undefined) return []
    const since =
      'at' in near
        ? exactly(near.at.toISOString())
        : (exactly(iso) / microsecond + near.microseconds) * microsecond
    const microseconds = since / microsecond
    const [seconds, rest] = [microseconds / 1_000_000n, microseconds % 1_000_000n]
    const [second, part] = rest < 0n ? [seconds - 1n, rest + 1_000_000n] : [seconds, rest]
    const instant = `${new Date(Number(second) * 1_000).toISOString().slice(0, 19)}.${String(part).padStart(6, '0')}Z`
    if (!/^\d{4}-/.test(instant) || instant.startsWith('0000')) return []
    return [{ type, value, instant, expected: exactly(iso) >= exactly(instant) }]
  })
  expect(asked.length).toBeGreaterThan(1_500)
  expect(asked.filter(({ expected }) => expected).length).toBeGreaterThan(300)
  for (const type of new Set(asked.map((each) => each.type))) {
    const some = asked.filter((each) => each.type === type)
    const answers = await pool.query<{ since: string }>(
      `SELECT ${stampedSince(type, 'x.value', 'x.instant')} AS since
       FROM ROWS FROM (jsonb_to_recordset($1::text::jsonb) AS (value ${type}, instant text)) WITH ORDINALITY AS x(value, instant, place)
       ORDER BY place`,
      [JSON.stringify(some.map(({ value, instant }) => ({ value, instant })))],
    )
    const wrong = some.filter(({ expected }, index) => (answers[index]?.since === 't') !== expected)
    expect(wrong).toEqual([])
  }
})
