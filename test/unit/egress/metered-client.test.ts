import { describe, expect, test } from 'vitest'
import { type HttpAnswer, HttpFailure } from '../../../providers/provider.ts'
import { metered } from '../../../src/egress/metered-client.ts'
import { LeaseLostError } from '../../../src/errors.ts'

const request = { url: new URL('http://127.0.0.1/'), method: 'POST', headers: {}, timeoutMs: 1_000 } as const

function metering(answer: () => Promise<HttpAnswer>) {
  const ends: string[] = []
  let inFlight = 0
  const meter = {
    beginRequest: () => {
      inFlight += 1
      return (result: string) => {
        inFlight -= 1
        ends.push(result)
      }
    },
  }
  const client = metered({ request: answer }, meter)
  return { client, ends, inFlight: () => inFlight }
}

const status = (code: number) => async () => ({ status: code, headers: {}, body: '' })

describe('the metered client', () => {
  test.each([200, 204, 302, 404, 503])('hands an answer of %i on and tells its class', async (code) => {
    const { client, ends, inFlight } = metering(status(code))
    const answer = client.request(request, new AbortController().signal)
    expect(inFlight()).toBe(1)
    expect(await answer).toMatchObject({ status: code })
    expect(ends).toEqual([`${String(code)[0]}xx`])
    expect(inFlight()).toBe(0)
  })

  test('tells a failure from a request that was broken off', async () => {
    const failure = new HttpFailure('timeout', 'The receiver did not answer.')
    const { client, ends, inFlight } = metering(() => Promise.reject(failure))
    await expect(client.request(request, new AbortController().signal)).rejects.toBe(failure)
    await expect(client.request(request, AbortSignal.abort())).rejects.toBe(failure)
    expect(ends).toEqual(['error', 'aborted'])
    expect(inFlight()).toBe(0)
  })

  test('tells one that was not sent, because the lease had ended, from a receiver that does not answer', async () => {
    const { client, ends } = metering(() => Promise.reject(new LeaseLostError('shard 3')))
    await expect(client.request(request, new AbortController().signal)).rejects.toThrow('shard 3')
    expect(ends).toEqual(['aborted'])
  })
})
