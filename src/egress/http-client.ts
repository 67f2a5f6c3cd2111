/**
 * The daemon's way out: one pool of connections per origin, bounded in number, time and bytes (I9).
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
import { Agent, buildConnector, type Dispatcher } from 'undici'
import { type HttpAnswer, type HttpClient, HttpFailure, type HttpRequest } from '../../providers/provider.ts'
import { httpFailure } from './failure.ts'

export interface ClosableHttpClient extends HttpClient {
  /** Breaks off what is under way (`aborted`) and closes all connections. */
  close(): Promise<void>
}

export interface HttpClientOptions {
  /** Opens every connection. Stands in for undici's own, for example to check the address first. */
  readonly connect?: buildConnector.connector
  /** Requests beyond this wait for a free connection, within their own time-out. */
  readonly maxConnectionsPerOrigin?: number
}

const maxBodyBytes = 65_536

/** Of an answer's headers. Node's own default, written down because it is a promise here. */
const maxHeaderBytes = 16_384

const connectTimeoutMs = 10_000

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
  const agent = new Agent({
    connect: options.connect ?? buildConnector({ allowH2: false, timeout: connectTimeoutMs }),
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
  return {
    request: (request, signal) => withinTime(request, signal, (limited) => exchange(agent, request, limited)),
    close: () => agent.destroy(),
  }
}

/** Runs `work` under a signal that ends with the caller's or with the time-out, and tells the two apart. */
async function withinTime<T>(
  request: HttpRequest,
  signal: AbortSignal,
  work: (limited: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted()
  const limit = new AbortController()
  const onAbort = () => limit.abort(signal.reason)
  const timer = setTimeout(() => {
    const message = `The receiver did not answer within ${request.timeoutMs} ms.`
    limit.abort(new HttpFailure('timeout', message))
  }, request.timeoutMs)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await work(limit.signal)
  } catch (error) {
    throw limit.signal.aborted ? limit.signal.reason : httpFailure(error)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}

async function exchange(agent: Agent, request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
  const { url, method, headers, body } = request
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
