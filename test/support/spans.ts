/** A `Tracing` that remembers, for tests of those who use it. */
import {
  type Attributes,
  failureOf,
  type OpenSpan,
  type SpanKind,
  type Tracing,
} from '../../src/telemetry/tracing.ts'

export interface RememberedSpan {
  readonly name: string
  readonly kind: SpanKind
  readonly attributes: Attributes
  readonly failure: string | undefined
}

export class RememberedSpans implements Tracing {
  readonly headers = { traceparent: '00-11111111111111111111111111111111-2222222222222222-01' }
  /** Those that have ended. */
  readonly ended: RememberedSpan[] = []

  async span<T>(
    name: string,
    kind: SpanKind,
    start: Attributes,
    work: (span: OpenSpan) => Promise<T>,
  ): Promise<T> {
    let attributes = start
    let failure: string | undefined
    const span: OpenSpan = {
      headers: this.headers,
      set(more) {
        attributes = { ...attributes, ...more }
      },
      fail(code) {
        failure = code
      },
    }
    try {
      return await work(span)
    } catch (error) {
      failure = failureOf(error)
      if (failure === undefined) span.set({ 'spillway.aborted': true })
      throw error
    } finally {
      this.ended.push({ name, kind, attributes, failure })
    }
  }

  async stop(): Promise<void> {}
}
