import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { isDown, readBatch } from '../../../../src/cli/demo/receiver.ts'

const events = [
  { id: 'request:1', org_id: 'acme', data: {} },
  { id: 'request:2', org_id: null, data: {} },
]
const read = [
  { id: 'request:1', org: 'acme' },
  { id: 'request:2', org: null },
]

describe('the receiver of the demo', () => {
  test('goes down after two seconds for four, and again every ten', () => {
    const down = Array.from({ length: 20 }, (_, second) => second).filter((second) => isDown(second * 1_000))
    expect(down).toEqual([2, 3, 4, 5, 12, 13, 14, 15])
  })

  test('reads a JSON list and gzipped NDJSON alike', () => {
    const list = Buffer.from(JSON.stringify(events))
    const json = readBatch({ 'webhook-id': 'a', 'content-type': 'application/json' }, list)
    expect(json).toMatchObject({ id: 'a', events: read })
    const lines = gzipSync(events.map((event) => `${JSON.stringify(event)}\n`).join(''))
    const headers = {
      'webhook-id': 'b',
      'content-type': 'application/x-ndjson',
      'content-encoding': 'gzip',
    }
    expect(readBatch(headers, lines)).toMatchObject({ id: 'b', events: read })
  })

  test.each(['', 'no JSON', '{}', '[1]', '[{"id": 1}]', '[{"id": "request:1"}]'])(
    'takes %j for no batch',
    (body) => {
      expect(readBatch({ 'webhook-id': 'a' }, Buffer.from(body))).toBeUndefined()
    },
  )

  test('takes nothing without an id', () => {
    expect(readBatch({}, Buffer.from('[]'))).toBeUndefined()
  })
})
