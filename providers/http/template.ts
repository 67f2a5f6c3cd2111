/**
 * The `template` setting: a JSON document whose strings may hold `{{placeholders}}`.
 *
 * It is compiled once, when the destination is read, and filled on the parsed document: what an event
 * brings is inserted as a whole JSON value or inside a JSON string that is escaped afterwards. So no event
 * can break the document or add a field to it, and a `{{id}}` inside an event stays what it is.
 */
import { oneLine } from '../envelope.ts'
import { isObject, isSealed, kindOf, printable } from '../fields.ts'
import { readMembers, readString } from '../json-text.ts'
import type { AuditEvent } from '../provider.ts'
import { suggest } from '../suggest.ts'

/** JSON text, and between it what every event fills in. */
export type Template = readonly (string | Placeholder | Interpolation)[]

/** Stands alone in its string: its place is taken by the value with its JSON type. */
interface Placeholder {
  readonly kind: 'placeholder'
  readonly field: EventField
  /** Below `data`; empty for the whole field. */
  readonly path: readonly string[]
}
/** A string with other text around its placeholders. */
interface Interpolation {
  readonly kind: 'interpolation'
  readonly pieces: readonly (string | Placeholder)[]
}

const eventFields = ['id', 'event', 'timestamp', 'org_id', 'data'] as const
type EventField = (typeof eventFields)[number]

/** Deeper than any receiver's format; it keeps the walk below off the stack's end. */
const maxDepth = 32

type Report = (path: string, problem: string) => void

/** Every problem is reported with its path below the template (`.a[0].b`); the result is then of no use. */
export function compileTemplate(document: unknown, report: Report): Template {
  if (typeof document !== 'string' && typeof document !== 'object') {
    report('', `must be a JSON object, list or text with placeholders, not ${kindOf(document)}`)
    return []
  }
  return merged(compileValue(document, '', 0, report))
}

function compileValue(value: unknown, path: string, depth: number, report: Report): Template {
  if (depth > maxDepth) {
    report('', `is nested more than ${maxDepth} deep`)
    return []
  }
  if (typeof value === 'string') return compileString(value, path, report)
  if (Array.isArray(value)) {
    const items = value.map((item, index) => compileValue(item, `${path}[${index}]`, depth + 1, report))
    return ['[', ...items.flatMap((item, index) => (index === 0 ? item : [',', ...item])), ']']
  }
  if (isObject(value)) {
    if (Object.hasOwn(value, '$secret')) report(path, secretProblem)
    const members = Object.entries(value).map(([key, member]) => {
      const at = `${path}.${printable(key)}`
      if (/\{\{|\}\}/.test(key)) report(at, 'has a placeholder in its key; placeholders work in values only')
      return [`${JSON.stringify(key)}:`, ...compileValue(member, at, depth + 1, report)]
    })
    return ['{', ...members.flatMap((member, index) => (index === 0 ? member : [',', ...member])), '}']
  }
  return [JSON.stringify(value)]
}

/** It would be sent as it is written, in the body that also goes into the batch's id. */
const secretProblem = 'holds a secret; templates know none, write it into auth or headers'

function compileString(text: string, path: string, report: Report): Template {
  if (isSealed(text)) report(path, secretProblem)
  const pieces: (string | Placeholder)[] = []
  let at = 0
  for (const { index, 0: braces } of text.matchAll(/\{\{|\}\}/g)) {
    if (index < at) continue
    const close = braces === '{{' ? text.indexOf('}}', index) : -1
    if (close === -1) {
      report(path, `has ${braces} without its ${braces === '{{' ? '}}' : '{{'}`)
      return []
    }
    if (index > at) pieces.push(text.slice(at, index))
    const placeholder = parsePlaceholder(text.slice(index + 2, close).trim())
    if (typeof placeholder === 'string') report(path, placeholder)
    else pieces.push(placeholder)
    at = close + 2
  }
  if (at < text.length) pieces.push(text.slice(at))

  const [first] = pieces
  if (first === undefined || (pieces.length === 1 && typeof first === 'string')) return [JSON.stringify(text)]
  return pieces.length === 1 ? [first] : [{ kind: 'interpolation', pieces }]
}

/** The placeholder, or what is wrong with it. */
function parsePlaceholder(name: string): Placeholder | string {
  if (/[{}]/.test(name)) return 'has unbalanced braces; a placeholder is written {{name}}'
  const [head = '', ...path] = name.split('.')
  const field = eventFields.find((known) => known === head)
  if (field !== undefined && path.length === 0) return { kind: 'placeholder', field, path }
  if (field === 'data' && path.every((key) => key !== '')) return { kind: 'placeholder', field, path }

  const meant = field === undefined ? suggest(head, eventFields) : undefined
  const remedy =
    meant === undefined
      ? `there are ${eventFields.join(', ')} and data.<column>`
      : `did you mean {{${meant}}}?`
  return `has the unknown placeholder {{${printable(name)}}}; ${remedy}`
}

/** Neighbouring texts as one, so that filling joins as few pieces as possible. */
function merged(parts: Template): Template {
  const result: Template[number][] = []
  for (const part of parts) {
    const last = result.at(-1)
    if (typeof part === 'string' && typeof last === 'string') result[result.length - 1] = last + part
    else result.push(part)
  }
  return result
}

/** The document for one event, on one line. */
export function fillTemplate(template: Template, event: AuditEvent): string {
  const read = eventReader(event)
  const parts = template.map((part) => {
    if (typeof part === 'string') return part
    if (part.kind === 'placeholder') return read(part) ?? 'null'
    return JSON.stringify(
      part.pieces.map((piece) => (typeof piece === 'string' ? piece : asText(read(piece)))).join(''),
    )
  })
  return oneLine(parts.join(''))
}

/** Reads values of `event` as JSON text; the row is cut up at most once. */
function eventReader(event: AuditEvent): (placeholder: Placeholder) => string | undefined {
  let columns: Map<string, string> | undefined
  return ({ field, path }) => {
    switch (field) {
      case 'id':
        return JSON.stringify(event.id)
      case 'event':
        return JSON.stringify(event.logType)
      case 'timestamp':
        return JSON.stringify(event.timestamp)
      case 'org_id':
        return JSON.stringify(event.orgId)
      case 'data': {
        const [column, ...below] = path
        if (column === undefined) return event.dataJson
        columns ??= readMembers(event.dataJson)
        return below.reduce<string | undefined>(
          (json, key) => (json === undefined ? undefined : readMembers(json)?.get(key)),
          columns?.get(column),
        )
      }
      default:
        return field satisfies never
    }
  }
}

/** A value inside other text: strings without their quotes, nothing for null and for what is missing. */
function asText(json: string | undefined): string {
  if (json === undefined || json === 'null') return ''
  return json.startsWith('"') ? readString(json) : json
}
