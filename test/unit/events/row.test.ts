import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Column } from '../../../src/events/columns.ts'
import { rowShape } from '../../../src/events/row.ts'

const column = (name: string, type = 'text'): Column => ({ name, type, structured: false })
const id = column('id', 'bigint')
const org = column('org_id')
const at = column('at', 'timestamp with time zone')
const noTimestamp = { timestamp: '1970-01-01T00:00:00Z', timestampMs: 0 }

describe('a row as an event', () => {
  const shape = rowShape({
    logType: 'request',
    columns: [id, org, at, column('n', 'integer')],
    id,
    org,
    timestamp: at,
  })

  test('has its id, org, instant and data', () => {
    expect(shape.selected.map(({ name }) => name)).toEqual(['id', 'org_id', 'at', 'n'])
    expect(shape.toEvent(['42', 'acme', '2026-03-01 12:00:00.123456+00', '7'])).toMatchObject({
      id: 'request:42',
      logType: 'request',
      timestamp: '2026-03-01T12:00:00.123456Z',
      timestampMs: Date.parse('2026-03-01T12:00:00.123Z'),
      orgId: 'acme',
      dataJson: '{"id":42,"org_id":"acme","at":"2026-03-01T12:00:00.123456Z","n":7}',
    })
  })

  test('keeps an id’s digits that a number would lose', () => {
    expect(shape.idOf(['9223372036854775807', null, null, null])).toBe('9223372036854775807')
    expect(shape.toEvent(['9223372036854775807', null, null, null]).id).toBe('request:9223372036854775807')
  })

  test('tells no org from an empty one', () => {
    expect(shape.toEvent(['1', null, null, null]).orgId).toBeNull()
    expect(shape.toEvent(['1', '', null, null]).orgId).toBe('')
  })

  test.each([null, 'infinity', '-infinity', '0044-03-15 00:00:00+00 BC'])(
    'has the same, valid instant at every reading where its own is %s',
    (text) => {
      const event = shape.toEvent(['1', null, text, null])
      expect(event).toMatchObject(noTimestamp)
      expect(JSON.parse(event.dataJson).at).toBe(text)
    },
  )

  test('takes a timestamp without a zone as UTC, and keeps the data as it is', () => {
    const local = column('at', 'timestamp without time zone')
    const event = rowShape({ logType: 'a', columns: [local], id, org: undefined, timestamp: local }).toEvent([
      '2026-03-01 12:00:00',
      '1',
    ])
    expect(event).toMatchObject({
      timestamp: '2026-03-01T12:00:00Z',
      timestampMs: Date.parse('2026-03-01T12:00:00Z'),
      orgId: null,
      dataJson: '{"at":"2026-03-01T12:00:00"}',
    })
  })

  test('selects what it needs beside the data, and does not tell it', () => {
    const bare = rowShape({ logType: 'request', columns: [column('n', 'integer')], id, org, timestamp: at })
    expect(bare.selected.map(({ name }) => name)).toEqual(['n', 'id', 'org_id', 'at'])
    expect(bare.toEvent(['7', '42', 'acme', '2026-03-01 12:00:00+00'])).toMatchObject({
      id: 'request:42',
      orgId: 'acme',
      timestamp: '2026-03-01T12:00:00Z',
      dataJson: '{"n":7}',
    })
    const none = rowShape({ logType: 'request', columns: [], id, org, timestamp: at })
    expect(none.toEvent(['42', null, null]).dataJson).toBe('{}')
  })

  test('may take its id from the column that is also the org or the timestamp', () => {
    const same = rowShape({ logType: 'a', columns: [id], id, org: id, timestamp: at })
    expect(same.selected).toHaveLength(2)
    expect(same.toEvent(['5', null])).toMatchObject({ id: 'a:5', orgId: '5' })
  })
})

test('whatever the names and values, the data is JSON that says the same', () => {
  const name = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('"', '\\', '__proto__', 'a":1,"b', '\n'),
  )
  const value = fc.oneof(
    fc.constant([column('', 'text'), null, null] as const),
    fc.string({ unit: 'binary' }).map((text) => [column('', 'text'), text, text] as const),
    fc.integer().map((number) => [column('', 'integer'), String(number), number] as const),
    fc.boolean().map((flag) => [column('', 'boolean'), flag ? 't' : 'f', flag] as const),
    fc.jsonValue().map((json) => [column('', 'json'), JSON.stringify(json, null, 1), json] as const),
  )
  const fields = fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key, maxLength: 8 })
  fc.assert(
    fc.property(fields, (row) => {
      const columns = row.map(([key, [type]]) => ({ ...type, name: key }))
      const shape = rowShape({
        logType: 'a',
        columns,
        id: column('the id'),
        org: undefined,
        timestamp: column('at'),
      })
      const { dataJson } = shape.toEvent([...row.map(([, [, text]]) => text), '1', null])
      const expected = Object.fromEntries(row.map(([key, [, , meant]]) => [key, meant]))
      expect(Object.entries(JSON.parse(dataJson))).toEqual(
        expect.arrayContaining(Object.entries(JSON.parse(JSON.stringify(expected)))),
      )
      expect(dataJson).not.toContain('\n')
    }),
    { seed: 12, numRuns: 500 },
  )
})
