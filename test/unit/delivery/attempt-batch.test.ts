import { expect, test } from 'vitest'
import type { Outcome, Reason } from '../../../providers/provider.ts'
import { attemptBatch } from '../../../src/delivery/attempt-batch.ts'
import { cutBatch } from '../../../src/delivery/batch.ts'
import type { Destination } from '../../../src/destinations/destination.ts'
import { RememberedSpans } from '../../support/spans.ts'
import { items, rules } from './items.ts'

const { batch } = cutBatch(items(2), 0, '0', undefined, rules(), 0)
const { framing } = rules()
const destination = { id: 7, type: 'http', configured: { framing } } as unknown as Destination // all it looks at
const reason: Reason = { code: 'http_status', status: 503, message: 'secret' }

async function spanOf(outcome: Outcome) {
  const spans = new RememberedSpans()
  const sender = { send: async () => outcome, close: async () => {} }
  const options = { quickRetries: false, stopping: new AbortController().signal, tracing: spans }
  expect(await attemptBatch(destination, sender, batch, options, new AbortController().signal)).toBe(outcome)
  return spans.ended[0]
}

test('an attempt’s span tells of the batch and of what came of it', async () => {
  expect(await spanOf({ kind: 'accepted' })).toEqual({
    name: 'spillway.deliver',
    kind: 'producer',
    attributes: {
      'spillway.destination.id': 7,
      'spillway.destination.type': 'http',
      'spillway.log_type': batch.logType,
      'spillway.batch.id': batch.id,
      'spillway.batch.bytes': batch.bytes,
      'messaging.batch.message_count': 2,
      'spillway.outcome': 'accepted',
    },
    failure: undefined,
  })
})

test.each([
  ['retry', { kind: 'retry', reason }, {}],
  ['unauthorized', { kind: 'unauthorized', reason }, {}],
  [
    'partial',
    { kind: 'partial', refused: [{ index: 1, outcome: { kind: 'rejected', reason } }] },
    { 'spillway.batch.refused': 1 },
  ],
] as const)('%s is a failure by its code, without its words', async (kind, outcome, more) => {
  const span = await spanOf(outcome)
  expect(span).toMatchObject({
    failure: 'http_status',
    attributes: { 'spillway.outcome': kind, 'http.response.status_code': 503, ...more },
  })
  expect(JSON.stringify(span)).not.toContain('secret')
})
