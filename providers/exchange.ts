/** One HTTP request of a sender, from the bytes to the outcome. */
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import {
  type EncodedBatch,
  type Framing,
  type HttpAnswer,
  type HttpClient,
  HttpFailure,
  type HttpRequest,
} from './provider.ts'
import { failureOutcome, type WholeOutcome } from './status.ts'

const gzipAsync = promisify(gzip)

/**
 * The body: exactly the bytes that the batch was cut by. Each event is written where it belongs, because a text of
 * them all, and another one with the ends on it, would be two more copies of megabytes for the collector to find.
 */
export function frame(batch: EncodedBatch, framing: Framing): Uint8Array {
  const { prefix, separator, suffix } = framing
  const ends = Buffer.byteLength(prefix) + Buffer.byteLength(suffix)
  const between = Buffer.byteLength(separator) * (batch.events.length - 1)
  const body = Buffer.allocUnsafe(batch.events.reduce((sum, { bytes }) => sum + bytes, ends + between))
  let at = body.write(prefix)
  for (const [index, event] of batch.events.entries()) {
    if (index > 0) at += body.write(separator, at)
    // Cut short, or with memory behind it that nobody wrote to, it must not leave.
    if (event.body.length !== event.bytes) throw new RangeError(`${event.id} is not as long as it says`)
    body.set(event.body, at)
    at += event.bytes
  }
  body.write(suffix, at)
  return body
}

/**
 * Compresses in zlib's own threads, so that a body of megabytes does not hold up everybody else. Same bytes in,
 * same bytes out: zlib writes no time into the header, and the byte that names the operating system is set to
 * "unknown" (255, RFC 1952), because it differs between the machines a batch may be retried on.
 */
export async function compress(body: Uint8Array | string): Promise<Uint8Array> {
  const bytes = await gzipAsync(body, { level: 6 })
  bytes[9] = 255
  return bytes
}

/**
 * Sends `request` and lets `judge` read the answer. A failure becomes a `retry`; an abort of `signal`
 * rejects with its reason, whatever else happened at the same moment.
 */
export async function exchange(
  http: HttpClient,
  request: HttpRequest,
  signal: AbortSignal,
  judge: (answer: HttpAnswer) => WholeOutcome,
): Promise<WholeOutcome> {
  signal.throwIfAborted()
  try {
    return judge(await http.request(request, signal))
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof HttpFailure && error.code !== 'aborted') {
      return failureOutcome(error.code, error.message)
    }
    throw error
  }
}
