import { describe, expect, test } from 'vitest'
import { Deletions } from '../../../src/delivery/deletions.ts'
import type { Oldest } from '../../../src/sources/reader.ts'

/** A stream that was at work when the table began at `oldest`. */
const from = (oldest: Oldest) => new Deletions(() => oldest)

/** One that had read and settled everything up to `10`, and was woken when the table began at `oldest`. */
function woken(oldest: Oldest, first?: string): Deletions {
  const deletions = readUpTo('10')
  deletions.woken(oldest, first)
  deletions.reads('80')
  return deletions
}

function readUpTo(position: string, oldest: Oldest = '1'): Deletions {
  const deletions = from(oldest)
  deletions.reads(position)
  deletions.tookAll()
  return deletions
}

describe('rows may have been deleted', () => {
  test.each<[string, Deletions, Oldest, string]>([
    ['when the first row has moved beyond what was read', from('1'), '50', '49'],
    ['when the table is empty now', from('1'), null, '80'],
    ['also where nothing is known of before', from(undefined), '50', '49'],
    ['and since rows were known to wait', woken('5'), '50', '49'],
    ['when the first of the rows that came is gone', woken('5', '13'), '14', '13'],
    ['and when all of them are', woken('5', '13'), null, '80'],
    ['also where the table began with it', woken('13', '13'), '14', '13'],
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
    const deletions = readUpTo('800', '700/1')
    deletions.woken('700/1', "812/'a")
    deletions.reads('900')
    expect(deletions.find('800', "813/'0", '900')).toBe('813')
  })

  test('in what came while the rows before it were read', () => {
    const deletions = from('1')
    deletions.reads('40')
    deletions.woken('1', '43')
    deletions.woken('1', '55')
    deletions.tookAll()
    deletions.reads('80')
    expect(deletions.find('40', '44', '80')).toBe('43')
  })

  test('between two pages', () => {
    const deletions = woken('5', '13')
    deletions.tookPage('5')
    expect(deletions.find('20', '30', '80')).toBe('29')
  })

  test('after the rows are others than they were', () => {
    const deletions = readUpTo('80')
    deletions.forget('5')
    deletions.reads('60')
    expect(deletions.find('10', '50', '60')).toBe('49')
  })
})

describe('no rows were deleted', () => {
  test.each<[string, Deletions, Oldest]>([
    ['while the table begins at or before what was read', from('1'), '11'],
    ['when it began there when rows came', woken('50'), '50'],
    ['when it was empty before', from(null), '50'],
    ['as far as is known without an index', from('1'), undefined],
    ['when an empty table is all that is known', from(undefined), null],
    ['when all that was sent has gone, and the first of the rows that came is there', woken('5', '13'), '13'],
    ['when nobody said that rows had come', readUpTo('10'), '13'],
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
    deletions.reads('45')
    deletions.tookAll()
    deletions.woken('60')
    deletions.reads('80')
    expect(deletions.find('45', '60', '80')).toBeUndefined()
  })

  test('when rows came in the middle of a turn, and those before them went as soon as they were sent', () => {
    const deletions = woken('5', '13')
    deletions.tookAll()
    deletions.woken('13', '83')
    deletions.reads('90')
    expect(deletions.find('80', '83', '90')).toBeUndefined()
  })

  test('when rows were read before it was said that they had come', () => {
    const deletions = woken('5', '13')
    deletions.woken('5', '70')
    deletions.tookAll()
    deletions.woken('5', '75')
    deletions.reads('90')
    expect(deletions.find('80', '85', '90')).toBeUndefined()
  })

  test('when it is said where the rows are that somebody saw before', () => {
    const deletions = readUpTo('10')
    deletions.woken('5')
    deletions.woken('5', '13')
    deletions.reads('80')
    expect(deletions.find('10', '13', '80')).toBeUndefined()
  })

  test('in the transaction that is being read', () => {
    expect(from('700/1').find('812/5', '812/9', '900')).toBeUndefined()
  })
})
