import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { jsonOf, quoteIdentifier, selectExpression, sizeExpression } from '../../../src/events/columns.ts'
import type { Structure } from '../../../src/events/structure.ts'
import { isoTimestamp } from '../../../src/events/timestamp.ts'

const runs = { seed: 11, numRuns: 1_000 }
const column = (type: string, structured: Structure | false = false) => ({ name: 'c', type, structured })
const written = (type: string, text: string, structured: Structure | false = false) =>
  jsonOf(column(type, structured))(text)

describe('a value of PostgreSQL as JSON', () => {
  test.each([
    ['smallint', '-32768', -32768],
    ['integer', '2147483647', 2147483647],
    ['oid', '4294967295', 4294967295],
    ['bigint', '0', 0],
    ['bigint', '999999999999999', 999999999999999],
    ['bigint', '9007199254740991', Number.MAX_SAFE_INTEGER],
    ['bigint', '-9007199254740991', Number.MIN_SAFE_INTEGER],
    ['bigint', '9007199254740992', '9007199254740992'],
    ['bigint', '-9007199254740992', '-9007199254740992'],
    ['bigint', '9223372036854775807', '9223372036854775807'],
    ['bigint', '-9223372036854775808', '-9223372036854775808'],
    ['numeric', '1.10', '1.10'],
    ['numeric', 'NaN', 'NaN'],
    ['numeric', '-Infinity', '-Infinity'],
    ['real', '3.4028235e+38', 3.4028235e38],
    ['double precision', '-0', -0],
    ['double precision', '1e-07', 1e-7],
    ['double precision', 'NaN', 'NaN'],
    ['double precision', 'Infinity', 'Infinity'],
    ['double precision', '-Infinity', '-Infinity'],
    ['boolean', 't', true],
    ['boolean', 'f', false],
    ['text', 'a"b\\c\u0001\u2028😀', 'a"b\\c\u0001\u2028😀'],
    ['text', '', ''],
    ['bytea', '\\x', ''],
    ['bytea', '\\x00ff10', 'AP8Q'],
    ['date', '2026-03-01', '2026-03-01'],
    ['uuid', '0b9c1d3e-0000-4000-8000-00000000000a', '0b9c1d3e-0000-4000-8000-00000000000a'],
    ['timestamp with time zone', '2026-11-22 05:44:38.123456+00', '2026-11-22T05:44:38.123456Z'],
    ['timestamp without time zone', '2026-11-22 05:44:38', '2026-11-22T05:44:38'],
    ['timestamp with time zone', 'infinity', 'infinity'],
    ['json', '{"a":\r\n 1}', { a: 1 }],
    ['jsonb', 'null', null],
    ['some.enum', 'not so calm', 'not so calm'],
  ])('%s %s says the same', (type, text, expected) => {
    expect(JSON.parse(written(type, text))).toEqual(expected)
  })

  test('json is one line, digits, order and spaces kept', () => {
    expect(written('json', '{"b":1.0, "a":\n12345678901234567890}')).toBe(
      '{"b":1.0, "a": 12345678901234567890}',
    )
    expect(written('jsonb', '{"a": "x\\ny"}')).toBe('{"a": "x\\ny"}')
    expect(written('json[]', '[{"a":\r\n1.0},null]', { of: 'json' })).toBe('[{"a":  1.0},null]')
  })

  test('any bigint is a number exactly where a double holds it, and never loses a digit', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
        const json = written('bigint', String(value))
        const parsed: unknown = JSON.parse(json)
        const safe = value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER)
        expect(typeof parsed).toBe(safe ? 'number' : 'string')
        expect(String(parsed)).toBe(String(value))
      }),
      runs,
    )
  })

  test('any double, text and bytes come through', () => {
    fc.assert(
      fc.property(fc.double(), fc.string({ unit: 'binary' }), fc.uint8Array(), (number, text, bytes) => {
        const digits = Object.is(number, -0) ? '-0' : String(number)
        expect(Number(JSON.parse(written('double precision', digits)))).toBe(number)
        expect(JSON.parse(written('text', text))).toBe(text)
        const hex = Buffer.from(bytes).toString('hex')
        expect(Buffer.from(JSON.parse(written('bytea', `\\x${hex}`)), 'base64').toString('hex')).toBe(hex)
      }),
      runs,
    )
  })

  test('any json text means the same and has no line break', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent).replaceAll('\n', '\r\n')
        const json = written('json', text)
        expect(JSON.parse(json)).toEqual(JSON.parse(text))
        expect(json).not.toMatch(/[\r\n]/)
      }),
      runs,
    )
  })
})

describe('a timestamp', () => {
  test.each([
    ['2026-11-22 05:44:38+00', '2026-11-22T05:44:38Z'],
    ['2026-11-22 05:44:38.1+00', '2026-11-22T05:44:38.1Z'],
    ['2026-11-22 05:44:38', '2026-11-22T05:44:38'],
    ['0001-01-01 00:00:00+00', '0001-01-01T00:00:00Z'],
    ['12026-11-22 05:44:38+00', '+012026-11-22T05:44:38Z'],
    ['294276-12-31 23:59:59.999999+00', '+294276-12-31T23:59:59.999999Z'],
    ['0044-03-15 00:00:00+00 BC', '0044-03-15 00:00:00+00 BC'],
    ['infinity', 'infinity'],
    ['-infinity', '-infinity'],
  ])('%s is written as %s', (text, expected) => {
    expect(isoTimestamp(text)).toBe(expected)
  })

  test('any instant that JavaScript knows is the same instant', () => {
    const range = {
      min: new Date('0001-01-01T00:00:00Z'),
      max: new Date('9999-12-31T23:59:59Z'),
      noInvalidDate: true,
    }
    fc.assert(
      fc.property(fc.date(range), (date) => {
        const postgres = date.toISOString().replace('T', ' ').replace('Z', '+00')
        expect(Date.parse(isoTimestamp(postgres))).toBe(date.getTime())
      }),
      runs,
    )
  })
})

describe('SQL for a column', () => {
  test('quotes any name', () => {
    expect(quoteIdentifier('a"; DROP TABLE x; --')).toBe('"a""; DROP TABLE x; --"')
    expect(selectExpression({ name: 'a"b', type: 'text', structured: false }, 't')).toBe('t."a""b"')
    expect(selectExpression({ name: 'tags', type: 'text[]', structured: { of: 'text' } }, 't')).toBe(
      'to_json(t."tags")::text',
    )
  })

  test('leaves a column that is short or that tells its length as it is, and writes the others out', () => {
    for (const type of [
      'integer',
      'bigint',
      'uuid',
      'boolean',
      'timestamp with time zone',
      'text',
      'bytea',
      'json',
    ]) {
      expect(selectExpression(column(type), 't')).toBe('t."c"')
    }
    for (const type of ['jsonb', 'numeric', 'xml', 'public.citext', 'some.own_type']) {
      expect(selectExpression(column(type), 't')).toBe('t."c"::text')
    }
  })

  test('measures everything that may be long', () => {
    for (const type of ['integer', 'uuid', 'timestamp with time zone', 'boolean']) {
      expect(sizeExpression(column(type), 's.c0')).toBeUndefined()
    }
    for (const type of [
      'text',
      'bytea',
      'json',
      'jsonb',
      'numeric',
      'xml',
      'public.citext',
      'some.own_type',
    ]) {
      expect(sizeExpression(column(type), 's.c0')).toContain('octet_length(s.c0')
    }
    expect(sizeExpression(column('integer[]', { of: 'integer' }), 's.c0')).toContain('octet_length(s.c0')
  })
})
