import { describe, expect, test } from 'vitest'
import {
  type Memory,
  partsSince,
  rewindBetween,
  rewindOfIds,
  rewindOfTransactions,
  type Trace,
} from '../../../src/sources/rewind.ts'

const trace: Trace = {
  cluster: 'c1',
  incarnation: 'c1/1/100/200:200',
  lastDrawn: '1000',
  anchor: { position: '1000', stamp: 'noon' },
}
const memory: Memory = { horizon: '1000', cursor: '900', trace }
const same = { cluster: 'c1', incarnation: 'c1/1/100/200:200' }
const other = { cluster: 'c1', incarnation: 'c1/2/100/200:200' }

describe('a source of the ordering id, when it is looked up,', () => {
  test.each<[string, Memory, Parameters<typeof rewindOfIds>[1], boolean]>([
    ['went on', memory, { ...same, highest: '1003', lastDrawn: '1004' }, true],
    ['was emptied by retention', memory, { ...same, highest: null, lastDrawn: '1000' }, true],
    ['lost its last rows to a deletion', memory, { ...same, highest: '998', lastDrawn: '1000' }, true],
    [
      'was read by nobody',
      { ...memory, cursor: undefined },
      { ...other, highest: '5', lastDrawn: '5' },
      false,
    ],
    [
      'was never remembered',
      { ...memory, trace: undefined },
      { ...same, highest: '1200', lastDrawn: '1200' },
      true,
    ],
    [
      'has ids that no sequence made',
      { ...memory, trace: undefined },
      { ...same, highest: '7', lastDrawn: null },
      true,
    ],
    [
      'hides its sequence',
      { ...memory, trace: { ...trace, lastDrawn: undefined } },
      { ...same, highest: '7', lastDrawn: undefined },
      true,
    ],
    ['moved with all its rows', memory, { ...other, highest: '1000', lastDrawn: '1000' }, true],
    [
      'moved and had nothing to hold on to',
      { ...memory, trace: { ...trace, anchor: null } },
      { ...other, highest: '1000', lastDrawn: '1000' },
      false,
    ],
  ])('is fine when it %s', (_, remembered, now, anchorHolds) => {
    expect(rewindOfIds(remembered, now, anchorHolds)).toBeUndefined()
  })

  test.each<[string, Memory, Parameters<typeof rewindOfIds>[1], boolean, string]>([
    [
      'its sequence was set back',
      memory,
      { ...same, highest: '5', lastDrawn: '5' },
      true,
      'set back from 1000 to 5',
    ],
    ['its sequence begins anew', memory, { ...same, highest: null, lastDrawn: null }, true, 'to its start'],
    [
      'it moved and its last row is another',
      memory,
      { ...other, highest: '2000', lastDrawn: '2000' },
      false,
      '1000 of noon',
    ],
    [
      'it ends below a cursor',
      { ...memory, trace: undefined },
      { ...same, highest: '5', lastDrawn: '5' },
      true,
      'read up to 1000',
    ],
    [
      'it ends below a cursor, and no horizon is known',
      { cursor: '900', horizon: undefined, trace: undefined },
      { ...same, highest: '5', lastDrawn: '5' },
      true,
      'read up to 900',
    ],
  ])('went back when %s', (_, remembered, now, anchorHolds, said) => {
    expect(rewindOfIds(remembered, now, anchorHolds)).toContain(said)
  })
})

describe('a source of the ordering id, between two looks,', () => {
  test.each([
    ['rows come', { highest: '10', lastDrawn: '10' }, { highest: '12', lastDrawn: '13' }],
    ['rows are deleted', { highest: '10', lastDrawn: '10' }, { highest: '4', lastDrawn: '10' }],
    [
      'a sequence catches up with rows that were inserted by hand',
      { highest: '10', lastDrawn: '2' },
      { highest: '10', lastDrawn: '10' },
    ],
    [
      'a sequence is set back, not below what was read',
      { highest: '10', lastDrawn: '99' },
      { highest: '10', lastDrawn: '10' },
    ],
    [
      'nothing is known of its sequence',
      { highest: '10', lastDrawn: undefined },
      { highest: '11', lastDrawn: undefined },
    ],
  ])('is fine while %s', (_, before, now) => {
    expect(rewindBetween(before, now, '10')).toBeUndefined()
  })

  test.each([
    [
      'its sequence is set back',
      { highest: '10', lastDrawn: '10' },
      { highest: '10', lastDrawn: '9' },
      'set back',
    ],
    [
      'it is truncated',
      { highest: '10', lastDrawn: '10' },
      { highest: null, lastDrawn: null },
      'to its start',
    ],
    [
      'ids are drawn below what was read',
      { highest: '10', lastDrawn: '2' },
      { highest: '10', lastDrawn: '3' },
      'such as 3',
    ],
    [
      'a row comes to the emptied table',
      { highest: null, lastDrawn: undefined },
      { highest: '1', lastDrawn: undefined },
      'came at 1',
    ],
    [
      'a row comes below what was read',
      { highest: '4', lastDrawn: undefined },
      { highest: '5', lastDrawn: undefined },
      'came at 5',
    ],
  ])('went back when %s', (_, before, now, said) => {
    expect(rewindBetween(before, now, '10')).toContain(said)
  })
})

describe('a source of the ordering xact, when it is looked up,', () => {
  const read: Memory = { horizon: '810', cursor: "800/'key", trace }

  test('is fine in the same cluster, with transactions that go on', () => {
    expect(rewindOfTransactions(read, { ...same, nextXact: '800' }, true)).toBeUndefined()
    expect(rewindOfTransactions(read, { ...same, nextXact: '900' }, true)).toBeUndefined()
  })

  test('is fine where a crash took back transactions that no cursor has reached', () => {
    expect(rewindOfTransactions(read, { ...same, nextXact: '805' }, true)).toBeUndefined()
  })

  test('is fine when nobody has read it', () => {
    const unread = { ...read, cursor: undefined }
    expect(
      rewindOfTransactions(unread, { cluster: 'c2', incarnation: 'c2', nextXact: '5' }, false),
    ).toBeUndefined()
  })

  test.each([
    [
      'in another cluster',
      { cluster: 'c2', incarnation: 'c2/1/1', nextXact: '9000' },
      true,
      'another cluster',
    ],
    ['behind a cursor', { ...same, nextXact: '799' }, true, 'next transaction is 799'],
    ['on another timeline without its last row', { ...other, nextXact: '900' }, false, 'not to be found'],
  ])('went back when it is %s', (_, now, anchorHolds, said) => {
    expect(rewindOfTransactions(read, now, anchorHolds)).toContain(said)
  })
})

describe('partitions that came since', () => {
  const parted: Memory = { ...memory, trace: { ...trace, parts: ['100', '101'] } }

  test.each<[string, Memory, string[], string[]]>([
    ['those that were not there', parted, ['100', '101', '102'], ['102']],
    ['none when some were taken away', parted, ['100'], []],
    ['none of another table', parted, ['300', '301'], []],
    ['none where nobody has read the table', { ...parted, cursor: undefined }, ['100', '102'], []],
    ['none where they were not remembered', memory, ['100', '102'], []],
  ])('are %s', (_, remembered, now, expected) => {
    expect(partsSince(remembered, now)).toEqual(expected)
  })
})
