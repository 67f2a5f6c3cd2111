/**
 * The toolkit for `Provider.parseConfig`: reads an untrusted object field by field and collects every
 * problem before it throws, so that a user mends a destination in one go.
 *
 * - A field that no reader asked for is refused by name: a setting that this version does not know is
 *   never ignored. `null` counts as not given.
 * - A problem names the path, what is wrong and what to write. It never shows a value: any of them may be
 *   a credential, written into the wrong field.
 * - A reader that finds a problem still returns something of its type, so that the others get their turn.
 *   Nobody sees it, because `parseFields` throws in the end.
 * - Only what is read with `secret`, `secrets`, `secretAt` or `secretUrl` may be a reference or a ciphertext.
 */
import {
  type ConfigPath,
  DestinationConfigError,
  type FieldProblem,
  type SecretKind,
  type Secrets,
} from './provider.ts'
import { suggest } from './suggest.ts'

/** `read` takes the fields it knows, below `path`. Throws `DestinationConfigError` with all problems of all fields. */
export function parseFields<C>(
  raw: unknown,
  read: (fields: Fields) => C,
  path = 'config',
  secrets: Secrets = plainSecrets,
): C {
  const problems: FieldProblem[] = []
  const config = readObject(raw, { path, below: [], secrets, problems }, read)
  if (problems.length > 0) throw new DestinationConfigError(problems)
  return config
}

/** Knows no other form of a secret than its text. */
const plainSecrets: Secrets = { reveal: (written) => ({ value: written }) }

interface Place {
  /** As it is told to people. */
  readonly path: string
  /** The same, below the whole. */
  readonly below: ConfigPath
  readonly secrets: Secrets
  readonly problems: FieldProblem[]
}

function readObject<C>(raw: unknown, place: Place, read: (fields: Fields) => C): C {
  const members = isObject(raw) ? raw : {}
  if (members !== raw) {
    place.problems.push({ field: place.path, problem: `must be a JSON object, not ${kindOf(raw)}` })
    // The fields of something that is no object are not missing one by one.
    return read(new Fields(members, { ...place, problems: [] }))
  }
  const fields = new Fields(members, place)
  const config = read(fields)
  fields.refuseUnknown()
  return config
}

export interface TextRule {
  /** What to write there, for the message: "the API key, as Datadog shows it". */
  readonly what: string
  readonly maxLength?: number
  /** What is wrong with the text, or nothing. */
  readonly check?: ((text: string) => string | undefined) | undefined
}

export class Fields {
  readonly #members: Readonly<Record<string, unknown>>
  readonly #place: Place
  readonly #known = new Set<string>()
  #refusesUnknown = true

  constructor(members: Readonly<Record<string, unknown>>, place: Place) {
    this.#members = members
    this.#place = place
  }

  text(name: string, rule: TextRule): string {
    const text = this.optionalText(name, rule)
    if (text === undefined) this.problem(name, `is missing; write ${rule.what}`)
    return text ?? ''
  }

  optionalText(name: string, rule: TextRule): string | undefined {
    const value = this.value(name)
    if (value === undefined) return undefined
    const problem = textProblem(value, rule)
    if (problem !== undefined) this.problem(name, problem)
    return typeof value === 'string' ? value : ''
  }

  /** A credential: as text, or in one of the forms that `Secrets` knows. The rule is for what it comes to. */
  secret(name: string, rule: TextRule, kind: SecretKind = 'credential'): string {
    const value = this.value(name)
    if (value !== undefined) return this.secretAt([name], value, rule, kind)
    this.problem(name, `is missing; write ${rule.what}`)
    return ''
  }

  /** A list of credentials, without those that cannot be used. Nothing if it is not there. */
  secrets(name: string, rule: TextRule, count: { readonly min: number; readonly max: number }): string[] {
    const value = this.value(name)
    if (!Array.isArray(value)) {
      const wrong = value === undefined ? 'is missing; write' : `must be a list, not ${kindOf(value)}; write`
      this.problem(name, `${wrong} a list with ${rule.what}`)
      return []
    }
    if (value.length < count.min || value.length > count.max) {
      this.problem(name, `must hold from ${count.min} to ${count.max}`)
    }
    return value
      .slice(0, count.max)
      .map((each: unknown, index) => this.secretAt([name, index], each, rule))
      .filter((each) => each !== '')
  }

  /** For credentials in fields of a shape of their own. Empty where there was a problem. */
  secretAt(at: ConfigPath, written: unknown, rule: TextRule, kind: SecretKind = 'credential'): string {
    const { below, secrets } = this.#place
    const revealed = secrets.reveal(written, [...below, ...at], kind)
    const problem = 'problem' in revealed ? revealed.problem : textProblem(revealed.value, rule)
    if (problem === undefined && 'value' in revealed) return String(revealed.value)
    this.problem(pathText(at), problem ?? '')
    return ''
  }

  integer(name: string, range: { readonly min: number; readonly max: number }): number | undefined {
    const value = this.value(name)
    if (value === undefined) return undefined
    if (typeof value === 'number' && Number.isInteger(value) && value >= range.min && value <= range.max) {
      return value
    }
    this.problem(name, `must be a whole number from ${range.min} to ${range.max}`)
    return range.min
  }

  flag(name: string, fallback: boolean): boolean {
    const value = this.value(name) ?? fallback
    if (typeof value === 'boolean') return value
    this.problem(name, `must be true or false, not ${kindOf(value)}`)
    return fallback
  }

  /** One of a fixed list. Without a `fallback` the field must be there. */
  choice<T extends string>(name: string, choices: readonly T[], fallback?: T): T | undefined {
    const value = this.value(name) ?? fallback
    const chosen = choices.find((choice) => choice === value)
    if (chosen === undefined) {
      const list = choices.join(', ')
      this.problem(name, value === undefined ? `is missing; write one of ${list}` : `must be one of ${list}`)
    }
    return chosen
  }

  url(name: string, what: string): URL {
    const url = this.optionalUrl(name, what)
    if (url === undefined) this.problem(name, `is missing; write ${what}`)
    return url ?? new URL(unusedUrl)
  }

  /** An address that may be called: http or https, no credentials in it, no fragment. */
  optionalUrl(name: string, what: string): URL | undefined {
    const text = this.optionalText(name, urlRule(what))
    return text === undefined ? undefined : (URL.parse(text) ?? new URL(unusedUrl))
  }

  /** An address that may be a credential itself, as those of many webhooks are. */
  secretUrl(name: string, what: string): URL {
    return URL.parse(this.secret(name, urlRule(what), 'address')) ?? new URL(unusedUrl)
  }

  /** A nested object with its own known fields; nothing if it is not there. */
  nested<T>(name: string, read: (fields: Fields) => T): T | undefined {
    const value = this.value(name)
    return value === undefined ? undefined : readObject(value, this.#below(name), read)
  }

  /** The members of an object whose names the user chooses; none if it is not there. */
  members(name: string): readonly (readonly [string, unknown])[] {
    const value = this.value(name)
    if (value === undefined) return []
    if (isObject(value)) return Object.entries(value)
    this.problem(name, `must be a JSON object, not ${kindOf(value)}`)
    return []
  }

  /** The value as it was written, for fields of a shape of their own. */
  value(name: string): unknown {
    this.#known.add(name)
    return Object.hasOwn(this.#members, name) ? (this.#members[name] ?? undefined) : undefined
  }

  /** `at` is the path below this object: `token`, `headers.X-Key`, `tags[2]`. */
  problem(at: string, problem: string): void {
    this.#place.problems.push({ field: `${this.#place.path}.${at}`, problem })
  }

  /** Where the field that says which others there are is bad, nothing can be said about those. */
  letUnknownPass(): void {
    this.#refusesUnknown = false
  }

  refuseUnknown(): void {
    if (!this.#refusesUnknown) return
    for (const name of Object.keys(this.#members)) {
      if (this.#known.has(name)) continue
      const meant = suggest(name, this.#known)
      const remedy =
        meant === undefined ? `known here: ${[...this.#known].join(', ')}` : `did you mean ${meant}?`
      this.problem(printable(name), `is not a field that this version knows; ${remedy}`)
    }
  }

  #below(name: string): Place {
    const { path, below } = this.#place
    return { ...this.#place, path: `${path}.${name}`, below: [...below, name] }
  }
}

/** `['headers', 'X-Key']` → `headers.X-Key`, `['secrets', 0]` → `secrets[0]`. */
function pathText(at: ConfigPath): string {
  return at
    .map((step) => (typeof step === 'number' ? `[${step}]` : `.${printable(step)}`))
    .join('')
    .slice(1)
}

/** Stands in for an address that was refused; `.invalid` leads nowhere (RFC 6761). */
const unusedUrl = 'https://refused.invalid'

/** What is wrong with a value that must be text, or nothing. */
export function textProblem(value: unknown, rule: TextRule): string | undefined {
  if (typeof value !== 'string') return `must be text, not ${kindOf(value)}; write ${rule.what}`
  if (value === '') return `is empty; write ${rule.what}`
  if (isSealed(value)) return `holds an encrypted secret, which only secret fields may; write ${rule.what}`
  if (rule.maxLength !== undefined && value.length > rule.maxLength) {
    return `is longer than ${rule.maxLength} characters`
  }
  return rule.check?.(value)
}

/** Whether a text has the form of an encrypted secret, of any version. */
export function isSealed(text: string): boolean {
  return /^enc:v\d+:/.test(text)
}

function urlRule(what: string): TextRule {
  return { what, maxLength: 4096, check: (value) => urlProblem(value, what) }
}

function urlProblem(text: string, what: string): string | undefined {
  // The URL parser drops these without a word; here they are a slip of copy and paste.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\s\u0000-\u001f\u007f]/.test(text)) return 'holds a space, a line break or another control character'
  const url = URL.parse(text)
  if (url === null) return `is not a web address; write ${what}`
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return 'must begin with https:// or http://'
  if (url.username !== '' || url.password !== '') {
    return 'holds a user name or a password; put credentials into their own field'
  }
  if (text.includes('#')) return 'has a fragment (#…), which never reaches a server; leave it out'
  return undefined
}

/** A name that the user wrote, fit for a log line. */
export function printable(name: string): string {
  const clean = name.replaceAll(/[^\x20-\x7e]/g, '?')
  return clean.length > 64 ? `${clean.slice(0, 64)}…` : clean
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (Array.isArray(value)) return 'a list'
  switch (typeof value) {
    case 'string':
      return 'text'
    case 'number':
    case 'bigint':
      return 'a number'
    case 'boolean':
      return 'true or false'
    default:
      return 'an object'
  }
}
