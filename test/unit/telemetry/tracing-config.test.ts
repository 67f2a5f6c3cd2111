import { expect, test } from 'vitest'
import { parseTracing } from '../../../src/telemetry/tracing-config.ts'

function parse(env: Readonly<Record<string, string>>) {
  const problems: Record<string, string> = {}
  const config = parseTracing(
    (name) => env[name],
    (field, problem) => {
      problems[field] = problem
    },
  )
  return { config, problems }
}

const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }

test.each([
  ['nothing is set', {}],
  ['there is no endpoint', { OTEL_SERVICE_NAME: 'a', OTEL_TRACES_SAMPLER: 'nonsense' }],
  ['the SDK is disabled', { ...endpoint, OTEL_SDK_DISABLED: 'TRUE', OTEL_TRACES_SAMPLER: 'nonsense' }],
  ['traces have no exporter', { ...endpoint, OTEL_TRACES_EXPORTER: 'none' }],
])('is off where %s, and finds no fault then', (_, env) => {
  expect(parse(env)).toEqual({ config: undefined, problems: {} })
})

test.each([
  ['http://collector:4318', 'http://collector:4318/v1/traces'],
  ['http://collector:4318/', 'http://collector:4318/v1/traces'],
  ['https://user:pass@spans.example/otlp/', 'https://user:pass@spans.example/otlp/v1/traces'],
  ['https://spans.example/otlp?tenant=1', 'https://spans.example/otlp/v1/traces?tenant=1'],
])('the general endpoint %s is a base', (raw, url) => {
  expect(parse({ OTEL_EXPORTER_OTLP_ENDPOINT: raw }).config).toEqual({ url, ratio: 1 })
})

test('the endpoint for traces goes first, as it is written', () => {
  const own = { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://spans.example/here' }
  expect(parse({ ...endpoint, ...own }).config?.url).toBe('https://spans.example/here')
  expect(parse(own).config?.url).toBe('https://spans.example/here')
})

test.each([
  [{}, 1],
  [{ OTEL_TRACES_SAMPLER: 'always_on' }, 1],
  [{ OTEL_TRACES_SAMPLER: 'parentbased_always_off' }, 0],
  [{ OTEL_TRACES_SAMPLER: 'traceidratio' }, 1],
  [{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.01' }, 0.01],
  [{ OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '.5' }, 0.5],
])('%j samples a share of %d', (env, ratio) => {
  expect(parse({ ...endpoint, ...env })).toMatchObject({ config: { ratio }, problems: {} })
})

test.each([
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' }, 'OTEL_EXPORTER_OTLP_ENDPOINT'],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://s3cret@' }, 'OTEL_EXPORTER_OTLP_ENDPOINT'],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'grpc://collector/s3cret' }, 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'],
  [{ ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, 'OTEL_EXPORTER_OTLP_PROTOCOL'],
  [{ ...endpoint, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/json' }, 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'],
  [{ ...endpoint, OTEL_TRACES_EXPORTER: 'zipkin' }, 'OTEL_TRACES_EXPORTER'],
  [{ ...endpoint, OTEL_TRACES_SAMPLER: 'jaeger_remote' }, 'OTEL_TRACES_SAMPLER'],
  [
    { ...endpoint, OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '2' },
    'OTEL_TRACES_SAMPLER_ARG',
  ],
  [
    { ...endpoint, OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: 'x' },
    'OTEL_TRACES_SAMPLER_ARG',
  ],
])('%j is refused by the name of %s, without its value', (env, field) => {
  const { problems } = parse(env)
  expect(Object.keys(problems)).toEqual([field])
  expect(JSON.stringify(problems)).not.toContain('s3cret')
})

test('the protocol for traces goes before the general one', () => {
  const env = { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc', OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/protobuf' }
  expect(parse({ ...endpoint, ...env }).problems).toEqual({})
})
