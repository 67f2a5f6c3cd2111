/**
 * Spans, as narrow as the daemon needs them. Off unless configured: then OpenTelemetry's SDK is not loaded, and what is
 * here costs a call. The one that sends spans is in otlp-tracing.ts.
 *
 * Keeps I8: attributes are ids, counts and bounded codes. Events, names of orgs and destinations, paths, queries,
 * headers and messages of errors never become one.
 */

export type Attributes = Readonly<Record<string, string | number | boolean>>

/**
 * `client` waits for another system, `producer` hands events over; the names are OpenTelemetry's.
 */
export type SpanKind = 'internal' | 'client' | 'producer'

export interface OpenSpan {
  /** What tells a receiver which span called it (`traceparent`); empty when tracing is off. */
  readonly headers: Readonly<Record<string, string>>
  set(attributes: Attributes): void
  /** What the span is about went wrong. A code of a bounded set, never a message. */
  fail(code: string): void
}

export interface Tracing {
  /**
   * Runs `work` in a span, under the one that is open where it is called. It ends when `work` does; what `work` throws
   * marks it by `failureOf`, and is thrown on.
   */
  span<T>(
    name: string,
    kind: SpanKind,
    attributes: Attributes,
    work: (span: OpenSpan) => Promise<T>,
  ): Promise<T>
  /** Sends what is left, and takes no longer than a stop can wait for it. Never rejects. */
  stop(): Promise<void>
}

/** Ends of requests that were not answered because of this daemon: a stop, or a lease that has ended. */
const brokenOff: ReadonlySet<string> = new Set(['AbortError', 'LEASE_LOST', 'aborted'])

/**
 * The code of an error, or the name of its class: both are written by programmers. Undefined where the work was broken
 * off, which is nobody's failure; such a span has the attribute `spillway.aborted`.
 */
export function failureOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return 'unknown'
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name
  if (brokenOff.has(code)) return undefined
  return /^[\w.-]{1,60}$/.test(code) ? code : 'unknown'
}

const noSpan: OpenSpan = { headers: {}, set() {}, fail() {} }

export const noTracing: Tracing = {
  span: (_name, _kind, _attributes, work) => work(noSpan),
  stop: async () => {},
}
