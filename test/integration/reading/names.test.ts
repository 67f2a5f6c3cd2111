import { describe, expect, test } from 'vitest'
import { quoteIdentifier } from '../../../src/events/columns.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { define, readerOf, sourcePool, watch } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)
const limit = { rows: 99, bytes: 1e9 }
const all = { orgId: null }
const everything = { after: '0', upTo: '99' }

const odd = [
  'Mixed Case',
  'with "quotes" and \'apostrophes\'',
  'a.b.c',
  'select',
  'user',
  '%I %s %',
  '$1',
  '$$',
  '\\',
  '\\u0041 \\n',
  'line\nbreak\ttab\u0001',
  '--',
  '/* a */',
  ';',
  '?',
  ':name',
  '[0]',
  '名前 😀 e\u0301 \u202e \u2028 \ufeff',
  'n'.repeat(63),
  '😀'.repeat(15),
  ' ',
  '__proto__',
  'constructor',
  'position',
  'size',
  'c0',
  'c1',
  'running',
  'unchanged',
  's',
  't',
  'p',
  'rows',
  'org',
  'data',
]

describe('a table, its schema and its columns may be called', () => {
  test.each(odd)('%j', async (name) => {
    const [schema, table] = [quoteIdentifier(`S${name}`.slice(0, 15)), quoteIdentifier(name)]
    const relation = `${schema}.${table}`
    // The id, the org and the time take their turn in having the odd name.
    for (const [idColumn, orgColumn, timestampColumn] of [
      [name, 'the org', 'at'],
      ['the id', name, 'at'],
      ['the id', 'the org', name],
      ['the id', 'the org', 'at'],
    ] as const) {
      const columns = [
        `${quoteIdentifier(idColumn)} bigserial`,
        `${quoteIdentifier(orgColumn)} text DEFAULT 'o'`,
      ]
      columns.push(`${quoteIdentifier(timestampColumn)} timestamptz DEFAULT '2026-01-01Z'`)
      if (![idColumn, orgColumn, timestampColumn].includes(name))
        columns.push(`${table} bigint[] DEFAULT '{1}'`)
      await sql.unsafe(`
        CREATE SCHEMA ${schema}; CREATE TABLE ${relation} (${columns.join(', ')}); INSERT INTO ${relation} DEFAULT VALUES`)
      const reader = await readerOf(pool, define({ relation, idColumn, orgColumn, timestampColumn }))
      const { rows } = await reader.readPage({ orgId: 'o' }, everything, limit)
      expect(rows.map(({ event }) => event)).toMatchObject([
        { id: 'test:1', orgId: 'o', timestamp: '2026-01-01T00:00:00Z' },
      ])
      const data = JSON.parse(rows[0]?.event.dataJson ?? '')
      expect(Object.keys(data)).toContain(name)
      const server = await sql.unsafe(`SELECT to_json("the row")::text AS row FROM ${relation} "the row"`)
      expect(Object.keys(data)).toEqual(Object.keys(JSON.parse(server[0]?.row)))
      expect(await reader.count({ orgId: 'o' }, everything)).toBe(1)
      expect(await reader.newRows(everything)).toEqual({ orgs: new Map([['o', '1']]), first: '1' })
      expect(await reader.before('2025-01-01Z')).toBe('0')
      expect(await reader.beginning()).toBe('0')
      expect(await reader.due([{ scope: { orgId: 'o' }, position: '0' }], '9')).toEqual(
        new Map([[0, undefined]]),
      )
      await sql.unsafe(`DROP SCHEMA ${schema} CASCADE`)
    }
  })

  test('all of it at once', async () => {
    const columns = odd.map((name, index) => `${quoteIdentifier(name)} int DEFAULT ${index}`)
    await sql.unsafe(`
      CREATE TABLE public.odd (id serial, at timestamptz DEFAULT now(), ${columns.join(', ')});
      INSERT INTO public.odd DEFAULT VALUES`)
    const definition = define({ relation: 'public.odd', orgColumn: null, excludeColumns: ['id', 'at'] })
    const { rows } = await (await readerOf(pool, definition)).readPage(all, everything, limit)
    expect(Object.entries(JSON.parse(rows[0]?.event.dataJson ?? ''))).toEqual(
      odd.map((name, index) => [name, index]),
    )
  })

  test('what a setting would make of a backslash', async () => {
    const url = `${database.url}?standard_conforming_strings=off`
    await sql.unsafe(`
      CREATE TABLE public."\\'\\\\'" (id serial, at timestamptz, "\\'" numeric); INSERT INTO public."\\'\\\\'" ("\\'") VALUES (1.0)`)
    const reader = await readerOf(sourcePool(url), define({ relation: `public."\\'\\\\'"`, orgColumn: null }))
    const { rows } = await reader.readPage(all, everything, limit)
    expect(JSON.parse(rows[0]?.event.dataJson ?? '')).toMatchObject({ "\\'": '1.0' })
  })
})

test('watching a table with an odd name sees its rows', async () => {
  const relation = quoteIdentifier(odd.slice(0, 6).join(' '))
  await sql.unsafe(
    `CREATE TABLE ${relation} ("row ""Id"" %" bigserial, at timestamptz); INSERT INTO ${relation} DEFAULT VALUES`,
  )
  const watching = watch(pool, define({ relation, idColumn: 'row "Id" %', orgColumn: null }))
  await watching.reached('1')
  await watching.stop()
})
