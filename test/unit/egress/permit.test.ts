import { afterEach, beforeEach, expect, it } from 'vitest'
import type { HttpRequest } from '../../../providers/provider.ts'
import { type ClosableHttpClient, createHttpClient } from '../../../src/egress/http-client.ts'
import { loopback } from '../../support/egress.ts'
import { type Receiver, startReceiver } from '../../support/receiver.ts'

const never = new AbortController().signal
const over = new Error('the right to send is over')

let receiver: Receiver
let http: ClosableHttpClient
/** Called while a connection is being opened. */
let onLookup = () => {}

beforeEach(async () => {
  receiver = await startReceiver()
  http = createHttpClient({
    allow: { ...loopback, hosts: ['receiver.test'] },
    resolve: (_, __, callback) => {
      onLookup()
      callback(null, [{ address: '127.0.0.1', family: 4 }])
    },
  })
})
afterEach(async () => {
  onLookup = () => {}
  await http.close()
  await receiver.close()
})

function request(): HttpRequest {
  const url = new URL(receiver.url)
  url.hostname = 'receiver.test'
  return { method: 'POST', url, headers: {}, body: Buffer.from('{}'), timeoutMs: 5_000 }
}

it('sends while it may', async () => {
  const answer = await http.permitting(() => undefined).request(request(), never)
  expect(answer.status).toBe(200)
  expect(receiver.requests).toHaveLength(1)
})

it('opens no connection when it may not', async () => {
  let lookups = 0
  onLookup = () => {
    lookups += 1
  }
  await expect(http.permitting(() => over).request(request(), never)).rejects.toBe(over)
  expect(lookups).toBe(0)
})

it('sends nothing when the right ends while the connection is being opened', async () => {
  let refused: Error | undefined
  onLookup = () => {
    refused = over
  }
  await expect(http.permitting(() => refused).request(request(), never)).rejects.toBe(over)
  // A request that nothing stands in the way of comes after it.
  await http.request(request(), never)
  expect(receiver.requests).toHaveLength(1)
})

it('sends nothing over a connection that it kept, either', async () => {
  await http.request(request(), never)
  let asked = 0
  const client = http.permitting(() => {
    asked += 1
    return asked > 1 ? over : undefined
  })
  await expect(client.request(request(), never)).rejects.toBe(over)
  await http.request(request(), never)
  expect(receiver.requests).toHaveLength(2)
})
