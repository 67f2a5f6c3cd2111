/**
 * Which of OpenTelemetry's variables turn tracing on, and where spans go. Those that are not here (headers, time-out,
 * compression, certificates, the resource) are read by OpenTelemetry's own packages.
 */

export interface TracingConfig {
  /** The whole URL that spans are posted to. It may hold credentials. */
  readonly url: string
  /** Which share of traces is sent, from 0 to 1. */
  readonly ratio: number
}

type Problem = (field: string, problem: string) => void

/** Undefined: off. What is wrong is said only where it would matter, so not while tracing is off. */
export function parseTracing(
  text: (name: string) => string | undefined,
  problem: Problem,
): TracingConfig | undefined {
  const own = text('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT')
  const general = text('OTEL_EXPORTER_OTLP_ENDPOINT')
  const exporter = text('OTEL_TRACES_EXPORTER')?.toLowerCase()
  if (own === undefined && general === undefined) return undefined
  if (text('OTEL_SDK_DISABLED')?.toLowerCase() === 'true' || exporter === 'none') return undefined
  if (exporter !== undefined && exporter !== 'otlp') {
    problem('OTEL_TRACES_EXPORTER', 'must be otlp or none')
  }
  for (const name of ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'OTEL_EXPORTER_OTLP_PROTOCOL']) {
    const protocol = text(name)
    if (protocol === undefined) continue
    if (protocol !== 'http/protobuf') {
      problem(name, 'must be http/protobuf, the only protocol here; collectors take it on port 4318')
    }
    break
  }
  const url =
    own === undefined
      ? parseEndpoint('OTEL_EXPORTER_OTLP_ENDPOINT', general ?? '', problem)
      : parseEndpoint('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', own, problem)
  const ratio = parseSampler(text, problem)
  if (url === undefined) return undefined
  // The general one is a base; the one for traces is taken as it is.
  if (own === undefined) url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/traces`
  return { url: url.href, ratio }
}

/** The URL itself is never repeated: it may hold a password. */
function parseEndpoint(name: string, raw: string, problem: Problem): URL | undefined {
  const form = 'write http://collector:4318'
  if (!URL.canParse(raw)) {
    problem(name, `is not a URL; ${form}`)
    return undefined
  }
  const url = new URL(raw)
  if (/^https?:$/.test(url.protocol) && url.hash === '') return url
  problem(name, `must start with http:// or https:// and have no fragment; ${form}`)
  return undefined
}

/** A daemon has no parents from outside, so a sampler that looks at the parent is one that looks at the root. */
function parseSampler(text: (name: string) => string | undefined, problem: Problem): number {
  const sampler = text('OTEL_TRACES_SAMPLER') ?? 'parentbased_always_on'
  switch (sampler.replace(/^parentbased_/, '')) {
    case 'always_on':
      return 1
    case 'always_off':
      return 0
    case 'traceidratio': {
      const raw = text('OTEL_TRACES_SAMPLER_ARG') ?? '1'
      const ratio = Number(raw)
      if (/^\d*\.?\d+$/.test(raw) && ratio <= 1) return ratio
      problem('OTEL_TRACES_SAMPLER_ARG', 'must be a number from 0 to 1')
      return 1
    }
    default:
      problem(
        'OTEL_TRACES_SAMPLER',
        'must be always_on, always_off or traceidratio, each also with parentbased_ before it',
      )
      return 1
  }
}
