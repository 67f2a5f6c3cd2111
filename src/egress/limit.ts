/** Work with a time of its own, within that of whoever asked for it. */
import { HttpFailure } from '../../providers/provider.ts'
import { httpFailure } from './failure.ts'

export interface Limit {
  readonly timeoutMs: number
  /** What is said when the time is over. */
  readonly message: string
  /** The caller's. Its reason is what the work rejects with when it ends first. */
  readonly signal: AbortSignal
}

/**
 * Runs `work` under a signal that ends with the caller's or with the time-out, and tells the two apart. Does
 * not wait for work that is slow to hear of it: undici tells a request so only when its connection stands.
 */
export async function withinTime<T>(
  { timeoutMs, message, signal }: Limit,
  work: (limited: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted()
  const limit = new AbortController()
  const over = Promise.withResolvers<never>()
  limit.signal.addEventListener('abort', () => over.reject(limit.signal.reason), { once: true })
  const onAbort = () => limit.abort(signal.reason)
  const timer = setTimeout(() => limit.abort(new HttpFailure('timeout', message)), timeoutMs)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work(limit.signal), over.promise])
  } catch (error) {
    throw limit.signal.aborted ? limit.signal.reason : httpFailure(error)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}
