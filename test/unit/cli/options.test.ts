import { describe, expect, test } from 'vitest'
import type { FieldProblem } from '../../../providers/provider.ts'
import { parseJson, parseList, requireText } from '../../../src/cli/options.ts'

describe('options', () => {
  test('a list is cut at commas, without blanks and empty items', () => {
    expect(parseList(' a, b,,c ')).toEqual(['a', 'b', 'c'])
    expect(parseList(undefined)).toEqual([])
  })

  test.each([
    '{"apiKey": "s3cret-value"',
    's3cret-value',
    '{"apiKey": s3cret-value}',
    "{'apiKey': 's3cret-value'}",
  ])('what is no JSON is said without a word of it: %s', (text) => {
    const problems: FieldProblem[] = []
    expect(parseJson(text, 'config', problems)).toBeUndefined()
    expect(problems).toHaveLength(1)
    expect(problems[0]?.field).toBe('config')
    expect(JSON.stringify(problems)).not.toContain('s3cret')
  })

  test('JSON is taken as it is', () => {
    const problems: FieldProblem[] = []
    expect(parseJson('{"a": [1, null]}', 'config', problems)).toEqual({ a: [1, null] })
    expect(problems).toEqual([])
  })

  test('tells what is missing from what is empty', () => {
    const problems: FieldProblem[] = []
    expect(requireText(' x ', '--a', problems)).toBe('x')
    requireText(undefined, '--b', problems)
    requireText('  ', '--c', problems)
    expect(problems).toEqual([
      { field: '--b', problem: 'is missing' },
      { field: '--c', problem: 'is empty' },
    ])
  })
})
