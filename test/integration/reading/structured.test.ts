import { expect, test } from 'vitest'
import { createTestDatabase } from '../../support/postgres.ts'
import { dataOf, writer } from './values.ts'

const database = await createTestDatabase()
const { sql } = database
await sql.unsafe(`
  CREATE DOMAIN public.big AS bigint; CREATE DOMAIN public.bigs AS public.big[];
  CREATE DOMAIN public.price AS numeric(20,2) CHECK (VALUE > 0);
  CREATE TYPE public.mood AS ENUM ('calm', 'not "so" calm');
  CREATE TYPE public.money_bag AS ("the ""amount" public.price, amounts numeric[], raw bytea, note text, doc json);
  CREATE TYPE public.nested AS (z bigint, a public.money_bag, bags public.money_bag[], at timestamptz, local timestamp, mood public.mood);
  CREATE DOMAIN public.bag_domain AS public.money_bag;
  CREATE TYPE public.empty AS ();
  CREATE TYPE public.span AS RANGE (subtype = timestamptz, multirange_type_name = public.spans);
  CREATE TYPE public."bigint" AS ENUM ('1', 'x');
  CREATE TYPE public."json" AS ENUM ('not json')`)
const written = writer(database)

test.each([
  [
    'bigint[]',
    `'{1,9007199254740991,9007199254740992,NULL,-9223372036854775808}'`,
    '[1,9007199254740991,"9007199254740992",null,"-9223372036854775808"]',
  ],
  ['bigint[]', `'{}'`, '[]'],
  ['bigint[]', `'[-3:-2]={9007199254740993,2}'`, '["9007199254740993",2]'],
  ['bigint[][]', `'{{1,9007199254740993},{NULL,2}}'`, '[[1,"9007199254740993"],[null,2]]'],
  ['bigint[]', `'[0:0][5:6][1:1]={{{9007199254740993},{2}}}'`, '[[["9007199254740993"],[2]]]'],
  [
    'numeric[]',
    `'{1.10,NaN,Infinity,-Infinity,NULL,1e30}'`,
    '["1.10","NaN","Infinity","-Infinity",null,"1000000000000000000000000000000"]',
  ],
  [
    'double precision[]',
    `'{0.1,1e300,-5e-324,NaN,Infinity,-Infinity,-0,NULL}'`,
    '[0.1,1e+300,-5e-324,"NaN","Infinity","-Infinity",-0,null]',
  ],
  ['real[]', `'{0.1,3.4028235e38}'`, '[0.1,3.4028235e+38]'],
  ['bytea[]', `ARRAY['\\x00ff10', '', NULL]::bytea[]`, '["AP8Q","",null]'],
  ['oid[]', `'{0,4294967295}'`, '[0,4294967295]'],
  ['oidvector', `'1 4294967295'`, '[1,4294967295]'],
  ['int2vector', `'1 -2'`, '[1,-2]'],
  ['boolean[]', `'{t,f,NULL}'`, '[true,false,null]'],
  [
    'text[]',
    `ARRAY['9007199254740993', '1.10', 'NaN', '\\x00', '[1', '{"a":', 'null', E'a\\\\"\\n\\u2028']`,
    JSON.stringify(['9007199254740993', '1.10', 'NaN', '\\x00', '[1', '{"a":', 'null', 'a\\"\n\u2028']),
  ],
  [
    'timestamptz[]',
    `'{"2026-03-01 12:00:00.123456+05:30","2026-03-01 12:00Z",infinity,-infinity,"0044-03-15 00:00:00Z BC","12026-03-01 00:00:00Z",NULL}'`,
    '["2026-03-01T06:30:00.123456Z","2026-03-01T12:00:00Z","infinity","-infinity","0044-03-15 00:00:00+00 BC","+012026-03-01T00:00:00Z",null]',
  ],
  [
    'timestamp[]',
    `'{"2026-03-01 12:00:00.5",infinity,"0044-03-15 00:00:00 BC","12026-03-01 00:00:00"}'`,
    '["2026-03-01T12:00:00.5","infinity","0044-03-15 00:00:00 BC","+012026-03-01T00:00:00"]',
  ],
  ['date[]', `'{2026-03-01,infinity,"0044-03-15 BC"}'`, '["2026-03-01","infinity","0044-03-15 BC"]'],
  ['interval[]', `'{1 day 2 hours}'`, '["P1DT2H"]'],
  ['time[]', `'{10:30}'`, '["10:30:00"]'],
  [
    'json[]',
    `ARRAY['{"a":1.10,\r\n "a":12345678901234567890}', '"\\ud800\\u0000"', '[[1]]', 'null']::json[]`,
    '[{"a":1.10,   "a":12345678901234567890},"\\ud800\\u0000",[[1]],null]',
  ],
  ['jsonb[]', `ARRAY['{"a": 12345678901234567890}', 'null']::jsonb[]`, '[{"a": 12345678901234567890},null]'],
  ['char(4)[]', `'{ab}'`, '["ab  "]'],
  ['inet[]', `'{10.0.0.1/8}'`, '["10.0.0.1/8"]'],
  ['numrange[]', `'{"[1.10,9007199254740993)"}'`, '["[1.10,9007199254740993)"]'],
  ['public.bigs', `'{9007199254740993}'`, '["9007199254740993"]'],
  ['public.bigs[]', `'{"{9007199254740993,1}","{}",NULL}'`, '[["9007199254740993",1],[],null]'],
  ['public.price[]', `'{1.10}'`, '["1.10"]'],
  ['public.mood[]', `ARRAY['not "so" calm']::public.mood[]`, '["not \\"so\\" calm"]'],
  ['public."bigint"', `'x'`, '"x"'],
  ['public."bigint"[]', `'{1,x}'`, '["1","x"]'],
  ['public."json"', `'not json'`, '"not json"'],
  ['public.empty', 'ROW()', '{}'],
  ['public.empty[]', 'ARRAY[ROW()]::public.empty[]', '[{}]'],
  [
    'public.money_bag',
    `ROW(1.10, '{1.10}', '\\x00ff10', '1.10', '{"the \\"amount": 1.10}')`,
    '{"the \\"amount":"1.10","amounts":["1.10"],"raw":"AP8Q","note":"1.10","doc":{"the \\"amount": 1.10}}',
  ],
  [
    'public.money_bag',
    'ROW(NULL, NULL, NULL, NULL, NULL)',
    '{"the \\"amount":null,"amounts":null,"raw":null,"note":null,"doc":null}',
  ],
  [
    'public.bag_domain',
    `ROW(2, NULL, NULL, NULL, NULL)`,
    '{"the \\"amount":"2.00","amounts":null,"raw":null,"note":null,"doc":null}',
  ],
  [
    'public.nested[]',
    `ARRAY[ROW(9007199254740993, ROW(3, NULL, NULL, '}],"', NULL)::public.money_bag,
      ARRAY[ROW(4, '{}', NULL, NULL, '[9007199254740993]')::public.money_bag, NULL],
      '2026-03-01 12:00:00.1Z', '2026-03-01 12:00', 'calm'), NULL]::public.nested[]`,
    '[{"z":"9007199254740993","a":{"the \\"amount":"3.00","amounts":null,"raw":null,"note":"}],\\"","doc":null},' +
      '"bags":[{"the \\"amount":"4.00","amounts":[],"raw":null,"note":null,"doc":[9007199254740993]},null],' +
      '"at":"2026-03-01T12:00:00.1Z","local":"2026-03-01T12:00:00","mood":"calm"},null]',
  ],
  ['public.span', `'["2026-03-01 12:00Z",infinity)'`, '"[\\"2026-03-01 12:00:00+00\\",infinity)"'],
  ['public.spans', `'{["2026-03-01 12:00Z",)}'`, '"{[\\"2026-03-01 12:00:00+00\\",)}"'],
  ['int8multirange[]', `ARRAY['{[1,9007199254740993)}']::int8multirange[]`, '["{[1,9007199254740993)}"]'],
])('%s %s says what its parts say on their own', async (type, literal, expected) => {
  expect(await written(type, literal)).toBe(expected)
})

test('a row type says what its table’s columns say, without those that were dropped', async () => {
  await sql.unsafe(`
    CREATE TABLE public.line (gone int, id bigint, "p.q" numeric, tags bigint[]);
    ALTER TABLE public.line DROP COLUMN gone`)
  expect(
    await written('public.line[]', `ARRAY[ROW(9007199254740993, 1.0, '{9007199254740993}')::public.line]`),
  ).toBe('[{"id":"9007199254740993","p.q":"1.0","tags":["9007199254740993"]}]')
})

test('a type of types of types is worked out once each', async () => {
  await sql.unsafe('CREATE TYPE public.deep0 AS (v bigint)')
  for (let level = 1; level <= 12; level++) {
    await sql.unsafe(
      `CREATE TYPE public.deep${level} AS (a public.deep${level - 1}, b public.deep${level - 1}[])`,
    )
  }
  let literal = `ROW(9007199254740993)::public.deep0`
  for (let level = 1; level <= 12; level++) literal = `ROW(${literal}, NULL)::public.deep${level}`
  const json = await written('public.deep12', literal)
  expect(json).toContain('{"v":"9007199254740993"}')
})

test('text that looks like anything else inside an array is left alone', async () => {
  await sql.unsafe(`
    CREATE TABLE public.lookalikes (id bigserial, at timestamptz, pairs public.money_bag[], texts text[], docs jsonb[]);
    INSERT INTO public.lookalikes (pairs, texts, docs)
    SELECT ARRAY[ROW(g, ARRAY[g]::numeric[], NULL, t, to_json(t))::public.money_bag], ARRAY[t], ARRAY[to_jsonb(t)]
    FROM unnest(ARRAY['1.10', '"', '\\', '\\"', '{', '}', ']', '[', ',', ':', 'null', '9007199254740993', E'\\u0001', '\\x', '"}],']) WITH ORDINALITY AS x(t, g)`)
  const rows = await dataOf(database, { relation: 'public.lookalikes', orgColumn: null })
  const expected = await sql`SELECT texts[1] AS text, id::text FROM public.lookalikes ORDER BY lookalikes.id`
  expect(rows.map(({ texts }) => texts)).toEqual(expected.map(({ text }) => [text]))
  expect(rows.map(({ docs }) => docs)).toEqual(expected.map(({ text }) => [text]))
  expect(rows.map(({ pairs }) => pairs)).toEqual(
    expected.map(({ text, id }) => [
      { 'the "amount': `${id}.00`, amounts: [id], raw: null, note: text, doc: text },
    ]),
  )
})
