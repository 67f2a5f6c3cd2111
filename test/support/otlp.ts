/**
 * The receiving side of OTLP over HTTP: reads spans out of the protobuf that was really sent. Field numbers are those of
 * opentelemetry/proto/collector/trace/v1 and trace/v1.
 */
import type { ReceivedRequest } from './receiver.ts'

export interface SentSpan {
  readonly name: string
  readonly kind: number
  readonly traceId: string
  readonly spanId: string
  /** Empty at a root. */
  readonly parentSpanId: string
  readonly attributes: Readonly<Record<string, string | number | boolean>>
  /** 2 is an error. */
  readonly status: number
  readonly statusMessage: string
  readonly resource: Readonly<Record<string, string | number | boolean>>
}

/** Of all requests, in the order of their arrival. */
export function sentSpans(requests: readonly ReceivedRequest[]): SentSpan[] {
  return requests.flatMap(({ body }) =>
    many(read(body), 1).flatMap((resourceSpans) => {
      const fields = read(resourceSpans)
      const resource = attributesOf(read(one(fields, 1)), 1)
      return many(fields, 2).flatMap((scope) =>
        many(read(scope), 2).map((span) => toSpan(read(span), resource)),
      )
    }),
  )
}

function toSpan(fields: Fields, resource: SentSpan['resource']): SentSpan {
  const status = read(one(fields, 15))
  return {
    name: one(fields, 5).toString(),
    kind: number(fields, 6),
    traceId: one(fields, 1).toString('hex'),
    spanId: one(fields, 2).toString('hex'),
    parentSpanId: one(fields, 4).toString('hex'),
    attributes: attributesOf(fields, 9),
    status: number(status, 3),
    statusMessage: one(status, 2).toString(),
    resource,
  }
}

function attributesOf(fields: Fields, field: number): Record<string, string | number | boolean> {
  return Object.fromEntries(
    many(fields, field).map((attribute) => {
      const pair = read(attribute)
      const value = read(one(pair, 2))
      const [kind] = value.keys()
      if (kind === 1) return [one(pair, 1).toString(), one(value, 1).toString()]
      if (kind === 2) return [one(pair, 1).toString(), number(value, 2) === 1]
      if (kind === 4) return [one(pair, 1).toString(), one(value, 4).readDoubleLE()]
      return [one(pair, 1).toString(), number(value, 3)]
    }),
  )
}

/** By field number, what came: bytes, or the number of a varint. */
type Fields = ReadonlyMap<number, readonly (Buffer | number)[]>

function read(bytes: Buffer): Fields {
  const fields = new Map<number, (Buffer | number)[]>()
  let at = 0
  const varint = () => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = bytes.readUInt8(at++)
      value += (byte & 127) * 2 ** shift
      if (byte < 128) return value
    }
  }
  const take = (length: number) => {
    at += length
    return bytes.subarray(at - length, at)
  }
  while (at < bytes.length) {
    const tag = varint()
    const wire = tag & 7
    const lengths: Readonly<Record<number, () => Buffer | number>> = {
      0: varint,
      1: () => take(8),
      2: () => take(varint()),
      5: () => take(4),
    }
    const value = lengths[wire]?.()
    if (value === undefined || at > bytes.length) throw new Error(`no protobuf: wire type ${wire} at ${at}`)
    const field = Math.floor(tag / 8)
    fields.set(field, [...(fields.get(field) ?? []), value])
  }
  return fields
}

function many(fields: Fields, field: number): Buffer[] {
  return (fields.get(field) ?? []).filter((value) => typeof value !== 'number')
}

const one = (fields: Fields, field: number): Buffer => many(fields, field)[0] ?? Buffer.alloc(0)

function number(fields: Fields, field: number): number {
  const [value] = fields.get(field) ?? []
  return typeof value === 'number' ? value : 0
}
