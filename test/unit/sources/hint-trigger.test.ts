import { describe, expect, test } from 'vitest'
import { createTrigger, hasHint, hintFunction, hintName } from '../../../src/sources/hint-trigger.ts'

describe('the name of the trigger', () => {
  test('says which log type it is for', () => {
    expect(hintName('request')).toBe('spillway_notify_request')
  })

  test('never exceeds what PostgreSQL keeps of a name, and stays one for each log type', () => {
    const long = 'a'.repeat(62)
    const names = [`${long}b`, `${long}c`, 'a'.repeat(47), 'a'.repeat(48)].map(hintName)
    for (const name of names) expect(Buffer.byteLength(name)).toBeLessThanOrEqual(63)
    expect(new Set(names).size).toBe(4)
    expect(hintName('a'.repeat(47))).toBe(`spillway_notify_${'a'.repeat(47)}`)
  })

  test('is quoted wherever it stands', () => {
    expect(hintFunction('My "schema"', 'log-in')).toBe('"My ""schema"""."spillway_notify_log-in"')
    expect(createTrigger('public.t', 'log-in', 'f')).toContain('TRIGGER "spillway_notify_log-in" AFTER')
    expect(hasHint('1', "it's")).toContain("'spillway_notify_it''s'")
  })
})
