import { describe, expect, test } from 'vitest'
import { Deletions } from '../../../src/delivery/deletions.ts'
import type { Oldest } from '../../../src/sources/reader.ts'

/** A stream that was at work when the table began at `oldest`. */
const from = (oldest: Oldest) => new Deletions(() => oldest)

/** One that had read and settled everything, and was woken when the table began at `oldest`. */
function woken(oldest: Oldest): Deletions {
  const deletions = from('1')
  deletions.caughtUp()
  deletions.woken(oldest)
  return deletions
}

describe('rows may have been deleted', () => {
  test.each<[string, Deletions, Oldest, string]>([
    ['when the first row has moved beyond what was read', from('1'), '50', '49'],
    ['when the table is empty now', from('1'), null, '80'],
    ['also where nothing is known of before', from(undefined), '50', '49'],
    ['and since rows were known to wait', woken('5'), '50', '49'],
  ])('%s', (_, deletions, oldest, expected) => {
    expect(deletions.find('10', oldest, '80')).toBe(expected)
  })

  test('when the first row that could not be sent is gone', () => {
    const deletions = woken('5')
    deletions.left('40')
    expect(deletions.find('10', '41', '80')).toBe('40')
    expect(deletions.find('10', null, '80')).toBe('80')
  })

  test('but not beyond what was read, where rows may still appear', () => {
    expect(from('1').find('10', '500', '80')).toBe('80')
  })

  test('by the order of transactions too', () => {
    expect(from('700/1').find('800', "812/'a", '900')).toBe('812')
  })
})

describe('no rows were deleted', () => {
  test.each<[string, Deletions, Oldest]>([
    ['while the table begins at or before what was read', from('1'), '11'],
    ['when it began there when rows came', woken('50'), '50'],
    ['when it was empty before', from(null), '50'],
    ['as far as is known without an index', from('1'), undefined],
    ['when an empty table is all that is known', from(undefined), null],
  ])('%s', (_, deletions, oldest) => {
    expect(deletions.find('10', oldest, '80')).toBeUndefined()
  })

  test('while the first row that could not be sent is there, whatever went before it', () => {
    const deletions = woken('5')
    deletions.left('40')
    deletions.left(undefined)
    expect(deletions.find('10', '40', '80')).toBeUndefined()
  })

  test('after everything was settled', () => {
    const deletions = from('1')
    deletions.left('40')
    deletions.caughtUp()
    deletions.woken('60')
    expect(deletions.find('45', '60', '80')).toBeUndefined()
  })

  test('in the transaction that is being read', () => {
    expect(from('700/1').find('812/5', '812/9', '900')).toBeUndefined()
  })
})
