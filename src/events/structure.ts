/**
 * Arrays and composites → JSON that says what scalars say. PostgreSQL writes the JSON (`to_json`), and what
 * it writes differently from `jsonOf` is put right here, at the places that the catalogue says are of such a
 * type: never by how a token looks. Everything else is copied as it stands.
 */
import { quoteJson, readString, skipSpace, skipValue } from '../../providers/json-text.ts'
import { isoTimestamp } from './timestamp.ts'

/** What is in an array or a composite: PostgreSQL's name of a scalar type, or another one of them. */
export type Content = string | Structure
export type Structure = { readonly of: Content } | { readonly attributes: ReadonlyMap<string, Content> }

/** A change of one scalar's JSON, which is never `null`. */
export type Change = (json: string) => string

/** Takes over the value at `at`; returns where it ends. */
type Visit = (copy: Copy, at: number) => number

/** A text that is taken over with some of its parts replaced. */
class Copy {
  readonly text: string
  #copied = ''
  #upTo = 0

  constructor(text: string) {
    this.text = text
  }

  replace(from: number, to: number, by: string): void {
    this.#copied += this.text.slice(this.#upTo, from) + by
    this.#upTo = to
  }

  finish(): string {
    return this.#copied + this.text.slice(this.#upTo)
  }
}

/** Undefined where PostgreSQL's own JSON is right. `changeOf` says it of scalar types. */
export function structureChange(
  structure: Structure,
  changeOf: (type: string) => Change | undefined,
): Change | undefined {
  const visit = visitOf(structure, changeOf)
  if (!visit) return undefined
  return (json) => {
    const copy = new Copy(json)
    visit(copy, skipSpace(json, 0))
    return copy.finish()
  }
}

function visitOf(content: Content, changeOf: (type: string) => Change | undefined): Visit | undefined {
  if (typeof content === 'string') {
    const change = changeOf(content)
    return change && scalarVisit(change)
  }
  if ('of' in content) {
    // JSON does not tell the dimensions of an array from the arrays that a domain may put into one.
    let { of } = content
    while (typeof of !== 'string' && 'of' in of) of = of.of
    const element = visitOf(of, changeOf)
    return element && arrayVisit(element)
  }
  const attributes = new Map<string, Visit>()
  for (const [name, each] of content.attributes) {
    const visit = visitOf(each, changeOf)
    if (visit) attributes.set(name, visit)
  }
  return attributes.size > 0 ? compositeVisit(attributes) : undefined
}

function scalarVisit(change: Change): Visit {
  return (copy, at) => {
    const end = skipValue(copy.text, at)
    const json = copy.text.slice(at, end)
    if (json === 'null') return end
    const changed = change(json)
    if (changed !== json) copy.replace(at, end, changed)
    return end
  }
}

/** Of any number of dimensions. */
function arrayVisit(element: Visit): Visit {
  const visit: Visit = (copy, start) => {
    const { text } = copy
    if (text[start] !== '[') return skipValue(text, start)
    let at = skipSpace(text, start + 1)
    while (at < text.length && text[at] !== ']') {
      at = skipSpace(text, text[at] === '[' ? visit(copy, at) : element(copy, at))
      if (text[at] === ',') at = skipSpace(text, at + 1)
    }
    return at + 1
  }
  return visit
}

function compositeVisit(attributes: ReadonlyMap<string, Visit>): Visit {
  return (copy, start) => {
    const { text } = copy
    if (text[start] !== '{') return skipValue(text, start)
    let at = skipSpace(text, start + 1)
    while (at < text.length && text[at] !== '}') {
      const keyEnd = skipValue(text, at)
      const visit = attributes.get(readString(text.slice(at, keyEnd)))
      at = skipSpace(text, skipSpace(text, keyEnd) + 1)
      at = skipSpace(text, visit ? visit(copy, at) : skipValue(text, at))
      if (text[at] === ',') at = skipSpace(text, at + 1)
    }
    return at + 1
  }
}

/** `to_json` writes `2026-03-01T06:30:00+00:00`. */
export function timestampChange(json: string): string {
  return quoteJson(isoTimestamp(readString(json).replace('T', ' ').replace('+00:00', '+00')))
}
