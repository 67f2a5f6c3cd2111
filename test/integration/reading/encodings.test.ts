import { randomBytes } from 'node:crypto'
import postgres from 'postgres'
import { expect, inject, test } from 'vitest'
import { SourceError } from '../../../src/errors.ts'
import { whenDone } from '../../support/postgres.ts'
import { define, readerOf, sourcePool } from './watching.ts'

/** A database of another encoding than the tests' own. */
async function databaseIn(encoding: string): Promise<{ sql: postgres.Sql; url: string }> {
  const server = inject('postgresUrl')
  const name = `test_${encoding.toLowerCase()}_${randomBytes(4).toString('hex')}`
  const admin = postgres(`${server}postgres`, { max: 1, onnotice: () => {} })
  await admin.unsafe(`CREATE DATABASE ${name} TEMPLATE template0 ENCODING '${encoding}' LOCALE 'C'`)
  const sql = postgres(`${server}${name}`, { max: 1, onnotice: () => {} })
  whenDone(async () => {
    await sql.end()
    await admin.unsafe(`DROP DATABASE ${name} WITH (FORCE)`)
    await admin.end()
  })
  return { sql, url: `${server}${name}` }
}

test.each([
  ['LATIN1', 'äöü£\u00ff'],
  ['WIN1252', 'ä€“”'],
  ['EUC_JP', '日本語'],
  ['UTF8', '日本語😀'],
])('a database in %s is read exactly, names and values', async (encoding, text) => {
  const { sql, url } = await databaseIn(encoding)
  await sql.unsafe(`
    CREATE TYPE said AS ("${text}" text);
    CREATE TABLE "${text}" (id bigserial, at timestamptz, "${text}" text DEFAULT '${text}', ts text[] DEFAULT '{${text}}',
      j json DEFAULT '{"${text}":"${text}"}', r said DEFAULT ROW('${text}'));
    INSERT INTO "${text}" DEFAULT VALUES`)
  const definition = define({ relation: `"${text}"`, orgColumn: null, excludeColumns: ['id', 'at'] })
  const reader = await readerOf(sourcePool(url), definition)
  const { rows } = await reader.readPage({ orgId: null }, { after: '0', upTo: '9' }, { rows: 9, bytes: 9e6 })
  const said = { [text]: text }
  expect(JSON.parse(rows[0]?.event.dataJson ?? '')).toEqual({ [text]: text, ts: [text], j: said, r: said })
})

test('a database in SQL_ASCII is refused, because its bytes may be anything', async () => {
  const { sql, url } = await databaseIn('SQL_ASCII')
  await sql.unsafe('CREATE TABLE audit (id bigserial, org_id text, at timestamptz)')
  const error = await readerOf(sourcePool(url), define()).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(SourceError)
  expect(String(error)).toContain('SQL_ASCII')
  expect((error as SourceError).hint).toContain('UTF8')
})

test('text keys in the order of transactions need UTF8, whose bytes sort as ours do; uuid keys do not', async () => {
  const { sql, url } = await databaseIn('WIN1252')
  await sql.unsafe(`
    CREATE TABLE audit (id text PRIMARY KEY, key uuid NOT NULL, org_id text, at timestamptz,
      xact xid8 NOT NULL DEFAULT pg_current_xact_id())`)
  const pool = sourcePool(url)
  const definition = define({ ordering: 'xact', xactColumn: 'xact' })
  const error = await readerOf(pool, definition).catch((reason: unknown) => reason)
  expect(String(error)).toContain('WIN1252')
  await readerOf(pool, { ...definition, idColumn: 'key' })
})
