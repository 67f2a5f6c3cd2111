import { describe, expect, it } from 'vitest'
import { parseHttpConfig } from '../../../providers/http/config.ts'
import { openHttpSender } from '../../../providers/http/sender.ts'
import { HttpFailure, type HttpRequest } from '../../../providers/provider.ts'
import { createAuthority } from '../../support/certificates.ts'

const authority = createAuthority('test CA')
const notAfter = new Date('2026-03-01T00:00:00Z')
const own = authority.issue({ name: 'client', notAfter })
const tls = { ca: authority.cert, ...own }

/** What the sender asks of the daemon's client, and what it makes of a failure. */
async function send(now: string, answer: HttpFailure | { readonly status: number }) {
  const requests: HttpRequest[] = []
  const config = parseHttpConfig({ url: 'https://siem.example/', tls })
  const sender = openHttpSender(config, {
    http: {
      async request(request) {
        requests.push(request)
        if (answer instanceof HttpFailure) throw answer
        return { ...answer, headers: {}, body: '' }
      },
    },
    now: () => Date.parse(now),
    requestTimeoutMs: 1_000,
  })
  const batch = {
    id: 'b',
    logType: 'action',
    events: [{ id: 'action:1', body: Buffer.from('{}'), bytes: 2 }],
    eventBatchId: () => 'e',
  }
  return { outcome: await sender.send(batch, new AbortController().signal), requests }
}

describe('a request with TLS of its own', () => {
  it('hands authority, certificate and key to the client', async () => {
    const { outcome, requests } = await send('2026-02-28T00:00:00Z', { status: 200 })
    expect(outcome).toEqual({ kind: 'accepted' })
    expect(requests).toMatchObject([{ tls }])
  })

  it('says of a failure that the certificate has expired, where it has', async () => {
    const failure = new HttpFailure('tls', 'No trusted TLS connection came about.')
    expect(await send('2026-02-28T23:59:59Z', failure)).toMatchObject({
      outcome: { reason: { message: 'No trusted TLS connection came about.' } },
    })
    expect(await send('2026-03-01T00:00:00Z', failure)).toMatchObject({
      outcome: {
        reason: {
          code: 'tls',
          message:
            'No trusted TLS connection came about. The client certificate expired on 2026-03-01T00:00:00.000Z.',
        },
      },
    })
  })

  it('says nothing of it when there is an answer', async () => {
    const { outcome } = await send('2027-01-01T00:00:00Z', { status: 503 })
    expect(JSON.stringify(outcome)).not.toContain('expired')
  })
})
