/**
 * Spans, as narrow as the daemon needs them. Off unless configured: then nothing of OpenTelemetry is loaded, and what is
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
   * marks it failed and is thrown on.
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

const noSpan: OpenSpan = { headers: {}, set() {}, fail() {} }

export const noTracing: Tracing = {
  span: (_name, _kind, _attributes, work) => work(noSpan),
  stop: async () => {},
}
