/**
 * Spans to an OpenTelemetry collector, by OTLP over HTTP. Loaded on demand, and the only file that knows
 * OpenTelemetry's packages. Nothing of it is registered globally.
 *
 * A collector that is away, hangs or refuses harms nothing: spans wait in a queue of fixed length (I9), one export is
 * under way at a time, what does not get away is dropped, and one line every 30 s says so. A stop waits for the last
 * spans for a moment only.
 */
import { SpanKind as Kind, type Span, SpanStatusCode, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import {
  defaultResource,
  detectResources,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
  serviceInstanceIdDetector,
  serviceNameEnvDetector,
} from '@opentelemetry/resources'
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import { within } from '../clock.ts'
import { systemCodeOf } from '../egress/failure.ts'
import type { Log } from './log.ts'
import { type Failing, fail, recover } from './throttle.ts'
import { type Attributes, failureOf, type OpenSpan, type SpanKind, type Tracing } from './tracing.ts'
import type { TracingConfig } from './tracing-config.ts'

/** Spans that wait, about 5 MB with those under way; the SDK drops what comes on top. */
const maxQueueSize = 2_048
const maxExportBatchSize = 512
const scheduledDelayMs = 2_000
/** The exporter's own time-out (`OTEL_EXPORTER_OTLP_TIMEOUT`, 10 s) starts again with each byte of an answer. */
const exportTimeoutMs = 30_000
/** At a stop all that waits goes out at once; exports that hang beyond their time count here until they end. */
const concurrencyLimit = 8
/** Closing has a second and a half in all (app.ts). */
const flushMs = 500
const maxValueLength = 200

const kinds: Readonly<Record<SpanKind, Kind>> = {
  internal: Kind.INTERNAL,
  client: Kind.CLIENT,
  producer: Kind.PRODUCER,
}

export function openOtlpTracing(config: TracingConfig, version: string, log: Log): Tracing {
  const exporter = new WatchedExporter(new OTLPTraceExporter({ url: config.url, concurrencyLimit }), log)
  const provider = new TracerProvider({
    resource: resourceOf(version),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(config.ratio) }),
    spanLimits: { attributeValueLengthLimit: maxValueLength },
    spanProcessors: [
      new BatchSpanProcessor({
        exporter,
        maxQueueSize,
        maxExportBatchSize,
        scheduledDelayMillis: scheduledDelayMs,
        // The watched exporter has ended it by then, and has said so.
        exportTimeoutMillis: 2 * exportTimeoutMs,
      }),
    ],
  })
  const tracer = provider.getTracer('spillway', version)
  const contexts = new AsyncLocalStorageContextManager()
  return {
    async span<T>(
      name: string,
      kind: SpanKind,
      attributes: Attributes,
      work: (span: OpenSpan) => Promise<T>,
    ): Promise<T> {
      const parent = contexts.active()
      const span = tracer.startSpan(name, { kind: kinds[kind], attributes: { ...attributes } }, parent)
      try {
        return await contexts.with(trace.setSpan(parent, span), () => work(openSpan(span)))
      } catch (error) {
        const code = failureOf(error)
        if (code === undefined) span.setAttribute('spillway.aborted', true)
        else markFailed(span, code)
        throw error
      } finally {
        span.end()
      }
    },
    async stop() {
      await within(flushMs, provider.shutdown())
      exporter.close()
    },
  }
}

function openSpan(span: Span): OpenSpan {
  return {
    headers: { traceparent: traceparentOf(span) },
    set: (attributes) => void span.setAttributes({ ...attributes }),
    fail: (code) => markFailed(span, code),
  }
}

/** W3C Trace Context, 3.2. A trace that is not sampled says so; whoever is called then leaves it out too. */
function traceparentOf(span: Span): string {
  const { traceId, spanId, traceFlags } = span.spanContext()
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
}

function markFailed(span: Span, code: string): void {
  span.setAttribute('error.type', code)
  // Without a message: those may quote what they were about.
  span.setStatus({ code: SpanStatusCode.ERROR })
}

function resourceOf(version: string) {
  const own = resourceFromAttributes({ 'service.name': 'spillway', 'service.version': version })
  const detectors = [serviceInstanceIdDetector, resourceAttributesEnvDetector, serviceNameEnvDetector]
  return defaultResource().merge(own).merge(detectResources({ detectors }))
}

/**
 * Says when spans do not get away, and when they do again. To the processor every export has gone well: it would
 * otherwise tell OpenTelemetry's global error handler, and nobody listens there.
 */
class WatchedExporter implements SpanExporter {
  readonly #inner: OTLPTraceExporter
  readonly #log: Log
  #failing: Failing | undefined
  #lost = 0
  #closed = false

  constructor(inner: OTLPTraceExporter, log: Log) {
    this.#inner = inner
    this.#log = log
  }

  export(spans: ReadableSpan[], done: Parameters<SpanExporter['export']>[1]): void {
    let over = false
    const end = (error: unknown) => {
      if (over) return
      over = true
      clearTimeout(timer)
      this.#note(spans.length, error)
      // 0 is SUCCESS of an enum that only OpenTelemetry's core package exports.
      done({ code: 0 })
    }
    const timer = setTimeout(() => end(new Error('Request timed out')), exportTimeoutMs)
    timer.unref()
    this.#inner.export(spans, ({ code, error }) => end(code === 0 ? undefined : (error ?? new Error())))
  }

  async forceFlush(): Promise<void> {
    await this.#inner.forceFlush()
  }

  async shutdown(): Promise<void> {
    await this.#inner.shutdown()
  }

  /** Nothing is said any more. */
  close(): void {
    this.#closed = true
  }

  #note(spans: number, error: unknown): void {
    if (this.#closed) return
    const now = performance.now()
    if (error === undefined) {
      const recovered = recover(this.#failing, now)
      this.#failing = undefined
      if (recovered) this.#log.emit('tracing.recovered', { lost: this.#lost })
      this.#lost = 0
      return
    }
    this.#lost += spans
    const { state, log } = fail(this.#failing, now)
    this.#failing = state
    if (log) this.#log.emit('tracing.error', { ...describe(error), lost: this.#lost, ...log })
  }
}

/** Never the error's own text: it may quote the collector's answer, or its URL. */
function describe(error: unknown): { readonly code: string; readonly status?: number } {
  if (error instanceof Error && 'code' in error && typeof error.code === 'number') {
    return { code: 'http_status', status: error.code }
  }
  const systemCode = systemCodeOf(error)
  if (systemCode !== undefined) return { code: systemCode }
  const message = error instanceof Error ? error.message : ''
  if (message === 'Request timed out') return { code: 'timeout' }
  return { code: /retryable status/.test(message) ? 'http_status' : 'unknown' }
}
