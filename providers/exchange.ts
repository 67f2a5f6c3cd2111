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

/** The body's text: exactly the bytes that the batch was cut by. */
export function frame(batch: EncodedBatch, framing: Framing): string {
  const { prefix, separator, suffix } = framing
  return prefix + batch.events.map((event) => event.body).join(separator) + suffix
}

/**
 * Compresses in zlib's own threads, so that a body of megabytes does not hold up everybody else. Same text,
 * same bytes: zlib writes no time into the header, and the byte that names the operating system is set to
 * "unknown" (255, RFC 1952), because it differs between the machines a batch may be retried on.
 */
export async function compress(text: string): Promise<Uint8Array> {
  const bytes = await gzipAsync(text, { level: 6 })
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
