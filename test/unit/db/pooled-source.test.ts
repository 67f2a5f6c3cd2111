import { expect, test } from 'vitest'
import { withLiterals } from '../../../src/db/pooled-source.ts'

test.each([
  ['SELECT $1::text, $2::bigint', ['a', '5'], "SELECT 'a'::text, '5'::bigint"],
  ['$2 $1', ['a', 'b'], "'b' 'a'"],
  // Eleven is not one and a one.
  ['$11', [...'abcdefghijk'], "'k'"],
  ['SELECT $1::text', [null], 'SELECT NULL::text'],
  // What a value holds is not looked at again.
  ['$1 $2', ["it's $2", 'b'], "'it''s $2' 'b'"],
  // Right with and without standard_conforming_strings.
  ['$1', ["\\' OR true --"], " E'\\\\'' OR true --'"],
  // Names and strings are not parameters.
  [`SELECT "a$1""$1" '$1''$1' $1`, ['x'], `SELECT "a$1""$1" '$1''$1' 'x'`],
])('%s with %j is %s', (statement, parameters, expected) => {
  expect(withLiterals(statement, parameters)).toBe(expected)
})

test('a parameter that is not there is an error', () => {
  expect(() => withLiterals('SELECT $2', ['a'])).toThrow('$2')
})
