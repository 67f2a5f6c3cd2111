import { expect, test } from 'vitest'
import { Floors } from '../../../src/sources/floors.ts'

test('a row that a poll brings starts where sources were before the poll before', () => {
  const floors = new Floors(new Map([['request', { position: '5', savedAt: 1, life: 0 }]]))
  floors.mark(new Map())
  expect(floors.current.get('request')).toEqual({ position: '5', savedAt: 1, life: 0 })
  floors.mark(new Map([['request', { position: '20', life: 0 }]]))
  // The second poll's statement came after the first one's, before which nothing was known but what was stored.
  expect(floors.current.get('request')).toEqual({ position: '5', savedAt: 1, life: 0 })
  floors.mark(new Map([['request', { position: '30', life: 0 }]]))
  expect(floors.current.get('request')).toEqual({ position: '20', life: 0 })
  floors.mark(new Map())
  expect(floors.current.get('request')).toEqual({ position: '30', life: 0 })
  floors.mark(new Map())
  expect(floors.current.get('request')).toEqual({ position: '30', life: 0 })
})
