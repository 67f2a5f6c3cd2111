/**
 * The endpoints: one real HTTP server with a path for each destination. The flaky one is down by a schedule
 * and answers 503 then, until `recover` is called.
 */
import { createHash } from 'node:crypto'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { gunzipSync } from 'node:zlib'
import type { Account, ArrivedBatch, ArrivedEvent } from './accounting.ts'

/** Down for 4 s in every 10, for the first time after 2 s: a demo of 5 s has seen it. */
const outage = { firstAtMs: 2_000, lengthMs: 4_000, everyMs: 10_000 }

/** Whether the flaky endpoint is down `elapsedMs` after the start. */
export function isDown(elapsedMs: number): boolean {
  const since = elapsedMs - outage.firstAtMs
  return since >= 0 && since % outage.everyMs < outage.lengthMs
}

export class Receiver {
  readonly #accounts: ReadonlyMap<string, Account>
  readonly #server: Server
  #startedAt: number | undefined
  #recovered = false

  constructor(accounts: readonly Account[]) {
    this.#accounts = new Map(accounts.map((account) => [account.plan.path, account]))
    this.#server = createServer((request, response) => {
      // A client that breaks off has sent nothing that counts.
      buffer(request).then(
        (body) => this.#receive(request.url ?? '', request.headers, body, response),
        () => response.destroy(),
      )
    })
  }

  /** Returns the address of the server. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(0, '127.0.0.1', resolve)
    })
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('The receiver has no port.')
    return `http://127.0.0.1:${address.port}`
  }

  /** From now on the outages count. */
  begin(): void {
    this.#startedAt = performance.now()
  }

  /** No outage any more. */
  recover(): void {
    this.#recovered = true
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
      this.#server.closeAllConnections()
    })
  }

  #receive(
    path: string,
    headers: Readonly<Record<string, string | string[] | undefined>>,
    body: Buffer,
    response: ServerResponse,
  ): void {
    const account = this.#accounts.get(path)
    const batch = account && readBatch(headers, body)
    if (!account || !batch) {
      response.writeHead(account ? 400 : 404).end()
      return
    }
    const down = account.plan.flaky && !this.#recovered && this.#isDown()
    account.arrived(batch, down ? 'refused' : 'accepted', Date.now())
    if (down) response.writeHead(503, { 'retry-after': '1' }).end()
    else response.writeHead(200).end()
  }

  #isDown(): boolean {
    return this.#startedAt !== undefined && isDown(performance.now() - this.#startedAt)
  }
}

/** Undefined for what is no batch of events. */
export function readBatch(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  body: Buffer,
): ArrivedBatch | undefined {
  const id = headers['webhook-id']
  if (typeof id !== 'string') return undefined
  try {
    const text = (headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString('utf8')
    const isNdjson = headers['content-type'] === 'application/x-ndjson'
    const documents: unknown = isNdjson ? text.trim().split('\n').map(parse) : parse(text)
    if (!Array.isArray(documents)) return undefined
    const digest = createHash('sha256').update(body).digest('hex')
    return { id, digest, events: documents.map(readEvent) }
  } catch {
    return undefined
  }
}

function parse(text: string): unknown {
  return JSON.parse(text)
}

/** Throws for what has not the form of an event. */
function readEvent(document: unknown): ArrivedEvent {
  if (typeof document !== 'object' || document === null) throw new TypeError('not an object')
  const { id, org_id: org } = { id: undefined, org_id: undefined, ...document }
  if (typeof id !== 'string' || (typeof org !== 'string' && org !== null)) throw new TypeError('not an event')
  return { id, org }
}
