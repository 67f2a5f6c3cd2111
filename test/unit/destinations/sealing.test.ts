import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type SecretKey, seal, sealedWith, unseal } from '../../../src/destinations/sealing.ts'

const key = (id: string, fill: number): SecretKey => ({ id, key: new Uint8Array(32).fill(fill) })
const [first, second] = [key('2026', 1), key('old', 2)]

describe('an encrypted secret', () => {
  test('opens for its destination to what it was, whatever that is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), fc.integer({ min: 1 }), (plain, id) => {
        const sealed = seal(plain, id, first)
        expect(sealed).toMatch(/^enc:v1:2026:[A-Za-z0-9_-]+$/)
        expect(unseal(sealed, id, [second, first])).toEqual({ value: plain.toWellFormed() })
      }),
      { seed: 7 },
    )
  })

  test('is another text each time', () => {
    expect(seal('same', 1, first)).not.toBe(seal('same', 1, first))
  })

  test('does not open for another destination', () => {
    expect(unseal(seal('s3cret', 7, first), 8, [first])).toMatchObject({
      problem: expect.stringContaining('for another destination'),
    })
  })

  test('does not open with another key of the same id, and names a key that is not there', () => {
    const sealed = seal('s3cret', 7, first)
    expect(unseal(sealed, 7, [key('2026', 9)])).toHaveProperty('problem')
    expect(unseal(sealed, 7, [second])).toEqual({
      problem: 'is encrypted with the key "2026", which is not in SPILLWAY_SECRET_KEYS',
    })
    expect(unseal(sealed, 7, [])).toHaveProperty('problem')
  })

  test('does not open under the id of another key, even where both are the same bytes', () => {
    const renamed = seal('s3cret', 7, first).replace(':2026:', ':copy:')
    expect(unseal(renamed, 7, [first, key('copy', 1)])).toHaveProperty('problem')
  })

  test('does not open when any character of it is changed, left out or added', () => {
    const sealed = seal('s3cret', 7, first)
    const start = 'enc:v1:2026:'.length
    for (let at = start; at < sealed.length; at += 1) {
      const [before, after] = [sealed.slice(0, at), sealed.slice(at + 1)]
      for (const other of [sealed[at] === 'A' ? 'B' : 'A', sealed[at] === '_' ? '-' : '_', '', '=', 'AA']) {
        expect(unseal(before + other + after, 7, [first]), `at ${at}`).toHaveProperty('problem')
      }
    }
  })

  test.each([
    'enc:v1:',
    'enc:v1:2026:',
    'enc:v1:2026:AAAA',
    'enc:v2:2026:AAAA',
    'enc:v1:a b:AAAA',
    'enc:v1:2026',
  ])('is not %s', (text) => {
    expect(unseal(text, 7, [first])).toHaveProperty('problem')
  })

  test('names its key', () => {
    expect(sealedWith(seal('x', 1, second))).toBe('old')
    expect(sealedWith('plain')).toBeUndefined()
  })
})
