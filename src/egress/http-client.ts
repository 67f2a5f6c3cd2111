/**
 * The daemon's way out: one pool of connections per origin and TLS identity, bounded in number, time and
 * bytes (I9). There is no other: every connection that a customer's settings ask for is opened here, through
 * the address guard.
 *
 * - A request ends when its time is over, counted from the call to the last byte of the answer, so a
 *   receiver that drips does not hold its caller.
 * - Of an answer the first 64 KiB are read; if there is more, the connection is closed instead of drained.
 * - Redirects are not followed, nothing is decompressed, proxy variables are not read, and nothing is sent
 *   twice: all of that is for the caller to decide.
 * - HTTP/1.1 only: with HTTP/2 all requests to an origin would share one connection and its fate (I6).
 *
 * A failure throws `HttpFailure`. An abort of the caller's signal throws the signal's reason instead.
 */
import { lookup as systemLookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import type { SecureContext } from 'node:tls'
import { Agent, type Dispatcher } from 'undici'
import { type HttpAnswer, type HttpClient, HttpFailure, type HttpRequest } from '../../providers/provider.ts'
import { AddressGuard, type EgressAllow } from './address-guard.ts'
import { createConnector } from './dial.ts'
import { IdentityPools } from './identities.ts'
import { withinTime } from './limit.ts'
import { Lookups } from './lookups.ts'
import { permitting, type Refusal } from './permit.ts'
import type { EgressProxy } from './tunnel.ts'

export interface ClosableHttpClient extends HttpClient {
  /** The same client, for one who may lose the right to send: see `permitting`. */
  permitting(refusal: Refusal): HttpClient
  /** Breaks off what is under way (`aborted`) and closes all connections. */
  close(): Promise<void>
}

export interface HttpClientOptions {
  /** What may be reached besides public addresses; nothing unless it is said. */
  readonly allow?: EgressAllow
  /** All connections go through it; the addresses behind it are its to judge. */
  readonly proxy?: EgressProxy | undefined
  /** Stands in for the system's resolver. */
  readonly resolve?: LookupFunction
  /** Requests beyond this wait for a free connection, within their own time-out. */
  readonly maxConnectionsPerOrigin?: number
}

const maxBodyBytes = 65_536

/** Of an answer's headers. Node's own default, written down because it is a promise here. */
const maxHeaderBytes = 16_384

/**
 * Common servers close an idle connection after 5 s. undici's timer may be late by a second, so we let go
 * at 3 s and hardly ever write into a connection that the other side is just closing. A server's own
 * keep-alive hint can only shorten it: thousands of destinations must not each keep a socket for minutes.
 */
const keepAliveMs = 3_000

/**
 * More than there are seats in all lanes, so that hung requests to an origin that many destinations share
 * never keep a healthy one waiting. What bounds the connections is the seats.
 */
const defaultConnectionsPerOrigin = 2_048

export function createHttpClient(options: HttpClientOptions = {}): ClosableHttpClient {
  const closing = new AbortController()
  const dialOptions = {
    guard: new AddressGuard(options.allow ?? { cidrs: [], hosts: [] }),
    resolve: new Lookups(options.resolve ?? systemLookup).lookup,
    ...(options.proxy && { proxy: options.proxy }),
    closing: closing.signal,
  }
  const openAgent = (context: SecureContext | undefined) =>
    new Agent({
      connect: createConnector(dialOptions, context),
      connections: options.maxConnectionsPerOrigin ?? defaultConnectionsPerOrigin,
      allowH2: false,
      pipelining: 1,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      maxHeaderSize: maxHeaderBytes,
      // The whole exchange has one timer of its own.
      headersTimeout: 0,
      bodyTimeout: 0,
    })
  const pools = new IdentityPools({ open: openAgent })
  const send = (request: HttpRequest, signal: AbortSignal, on: (agent: Agent) => Dispatcher) => {
    const { timeoutMs } = request
    const message = `The receiver did not answer within ${timeoutMs} ms.`
    return withinTime({ timeoutMs, message, signal }, (limited) =>
      pools.use(request.tls, (agent) => exchange(on(agent), request, limited)),
    )
  }
  return {
    request: (request, signal) => send(request, signal, (agent) => agent),
    permitting: (refusal) => ({
      async request(request, signal) {
        let refused = refusal()
        if (refused) throw refused
        const ask = permitting(() => {
          refused = refusal()
          return refused
        })
        try {
          return await send(request, signal, (agent) => agent.compose(ask))
        } catch (error) {
          throw refused ?? error
        }
      },
    }),
    async close() {
      closing.abort(new HttpFailure('aborted', 'The HTTP client was closed.'))
      await pools.close()
    },
  }
}

async function exchange(agent: Dispatcher, request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
  const { url, method, headers, body } = request
  // Configs refuse both. Whatever else becomes a URL one day must not slip them past.
  if (!/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    const message = 'Only http and https addresses without a user name and password are called.'
    throw new HttpFailure('address_refused', message)
  }
  const answer = await agent.request({
    origin: url.origin,
    path: `${url.pathname}${url.search}`,
    method,
    headers,
    body: body ?? null,
    signal,
  })
  return {
    status: answer.statusCode,
    headers: flatten(answer.headers),
    body: await readStart(answer.body),
  }
}

/** The body's first 64 KiB. Leaving the loop early destroys the stream, and the connection with it. */
async function readStart(body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes >= maxBodyBytes) break
  }
  return Buffer.concat(chunks).subarray(0, maxBodyBytes).toString('utf8')
}

function flatten(headers: Dispatcher.ResponseData['headers']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value]],
    ),
  )
}
