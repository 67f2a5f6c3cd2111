import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { quoteJson, readMembers } from '../../../providers/json-text.ts'
import { row, runs } from './events.ts'

describe('the members of a JSON text', () => {
  it('are those that JSON.stringify wrote', () => {
    fc.assert(
      fc.property(
        fc.oneof(row, fc.array(fc.jsonValue())),
        fc.constantFrom('', ' ', '\t'),
        (value, indent) => {
          // Not by JSON.parse: in V8 13.6 it takes one key for another where a text before had that in its place ('\\"' for '"}').
          const written = Object.entries(value).map(([key, member]): [string, string] => {
            const text = JSON.stringify(member, null, indent)
            return [key, text.replaceAll('\n', `\n${indent}`)]
          })
          expect(readMembers(JSON.stringify(value, null, indent))).toEqual(new Map(written))
        },
      ),
      runs,
    )
  })

  it('keep their text', () => {
    const members = readMembers(' { "a" : 1.10 , "b":12345678901234567890,"c": [ 1,2 ],"d":-1E+2 } ')
    expect(Object.fromEntries(members ?? [])).toEqual({
      a: '1.10',
      b: '12345678901234567890',
      c: '[ 1,2 ]',
      d: '-1E+2',
    })
  })

  it('are found behind strings that look like structure', () => {
    const json = String.raw`{"a":"}],\"","b\"":"\\","c":{"x":"}"},"\u0064":true}`
    expect([...(readMembers(json) ?? [])]).toEqual([
      ['a', String.raw`"}],\""`],
      ['b"', String.raw`"\\"`],
      ['c', '{"x":"}"}'],
      ['d', 'true'],
    ])
  })

  it('are the last of equal names, as JSON.parse has it', () => {
    expect(readMembers('{"a":1,"a":2}')?.get('a')).toBe('2')
  })

  it('of a scalar are none', () => {
    for (const json of ['1', '"{}"', 'null', 'true', '']) expect(readMembers(json)).toBeUndefined()
  })

  it('are read however deep the text is nested', () => {
    const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`
    expect(readMembers(`{"deep":${deep},"a":1}`)?.get('a')).toBe('1')
  })

  it('come to an end for a text that is no JSON', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'{}[]":,\\ a1') }), (text) => {
        try {
          readMembers(text)
        } catch (error) {
          expect(error).toBeInstanceOf(SyntaxError)
        }
      }),
      runs,
    )
  })
})

describe('a text as a JSON string', () => {
  it('is what JSON.stringify writes', () => {
    const any = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'grapheme-ascii' }),
      // Halves of surrogate pairs, and whole ones of two halves.
      fc.array(fc.integer({ min: 0, max: 0xffff })).map((codes) => String.fromCharCode(...codes)),
    )
    fc.assert(
      fc.property(any, (text) => {
        expect(quoteJson(text)).toBe(JSON.stringify(text))
      }),
      runs,
    )
  })

  it('is so for every single unit of UTF-16', () => {
    const units = Array.from({ length: 0x1_0000 }, (_, code) => String.fromCharCode(code))
    expect(units.filter((unit) => quoteJson(unit) !== JSON.stringify(unit))).toEqual([])
  })
})
