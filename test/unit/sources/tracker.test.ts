import { expect, test } from 'vitest'
import type { IdsLook, TransactionsLook } from '../../../src/sources/observer.ts'
import { IdTracker, TransactionTracker } from '../../../src/sources/tracker.ts'

const look = (oldestOpen: string, nextXact: string, waiting = false): TransactionsLook => ({
  ordering: 'xact',
  fingerprint: '',
  oldest: undefined,
  hinted: false,
  oldestOpen,
  nextXact,
  waiting,
})

const ids = (highest: string | null): IdsLook => ({
  ordering: 'id',
  fingerprint: '',
  oldest: undefined,
  hinted: false,
  highest,
  holders: [],
  lastDrawn: highest,
})

test('a horizon of transactions follows the oldest open one, and never goes back', () => {
  const tracker = new TransactionTracker()
  expect(tracker.position).toBeUndefined()
  expect(tracker.take(look('810', '815'))).toBe(true)
  expect(tracker.position).toBe('810')
  expect(tracker.take(look('810', '820'))).toBe(false)
  expect(tracker.take(look('809', '820'))).toBe(false)
  expect(tracker.position).toBe('810')
  expect(tracker.take(look('820', '820'))).toBe(true)
})

test('it is pending while rows wait beyond it', () => {
  const tracker = new TransactionTracker()
  tracker.take(look('810', '815', true))
  expect(tracker.pending).toBe(true)
  tracker.take(look('815', '815'))
  expect(tracker.pending).toBe(false)
})

test('a server that took transactions back is looked at anew', () => {
  const tracker = new TransactionTracker()
  expect(tracker.judge(look('810', '810'))).toBe('good')
  tracker.take(look('810', '810'))
  expect(tracker.judge(look('810', '810'))).toBe('good')
  expect(tracker.judge(look('808', '808'))).toBe('anew')
})

test('a source of ids is judged from its second look on, by what the first one saw', () => {
  const tracker = new IdTracker('10')
  expect(tracker.judge(ids('3'))).toBe('good')
  tracker.take(ids('3'), true)
  expect(tracker.judge(ids('3'))).toBe('good')
  expect(tracker.judge(ids('4'))).toHaveProperty('lost')
})
