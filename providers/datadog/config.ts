/** The settings of a `datadog` destination. Every one that is not named here is refused. */
import { type Fields, isObject, kindOf, parseFields, printable, textProblem } from '../fields.ts'
import { credentialProblem } from '../header-rules.ts'
import type { Secrets } from '../provider.ts'

/** Datadog's regions (docs.datadoghq.com/getting_started/site): keys and data belong to exactly one. */
export const sites = [
  'datadoghq.com',
  'us3.datadoghq.com',
  'us5.datadoghq.com',
  'ap1.datadoghq.com',
  'ap2.datadoghq.com',
  'uk1.datadoghq.com',
  'datadoghq.eu',
  'ddog-gov.com',
  'us2.ddog-gov.com',
] as const

const timestampModes = ['event', 'forward'] as const
/**
 * What becomes of an event whose timestamp the intake would drop it for: it is skipped and recorded, or sent
 * under the time of sending.
 */
type TimestampMode = (typeof timestampModes)[number]

export interface DatadogConfig {
  /** The site's log intake, or the one that `endpoint` names. */
  readonly url: URL
  readonly apiKey: string
  readonly service: string | undefined
  readonly source: string
  readonly hostname: string | undefined
  /** As the intake reads them: `env:prod,team:core`. */
  readonly ddtags: string | undefined
  readonly timestampMode: TimestampMode
  /** Goes before the daemon's own. */
  readonly timeoutMs: number | undefined
}

const intakePath = '/api/v2/logs'

/** A tag is cut after 200 characters by the vendor; one that would be cut is a slip here. */
const maxTagLength = 200

/** The vendor's limit for one log event's tags is 100. */
const maxTags = 100

/** Throws `DestinationConfigError`. */
export function parseDatadogConfig(raw: unknown, secrets?: Secrets): DatadogConfig {
  const read = (fields: Fields): DatadogConfig => {
    const site = fields.choice('site', sites, 'datadoghq.com') ?? 'datadoghq.com'
    const endpoint = fields.optionalUrl(
      'endpoint',
      'the address of the proxy, such as https://proxy.example.com',
    )
    return {
      url:
        endpoint === undefined
          ? new URL(`https://http-intake.logs.${site}${intakePath}`)
          : intakeOf(endpoint),
      apiKey: fields.secret('apiKey', { what: 'the API key', maxLength: 256, check: credentialProblem }),
      service: fields.optionalText('service', line('the name of the service')),
      source: fields.optionalText('source', line('the name of the source')) ?? 'spillway',
      hostname: fields.optionalText('hostname', line('the name of the host')),
      ddtags: readTags(fields),
      timestampMode: fields.choice('timestampMode', timestampModes, 'event') ?? 'event',
      timeoutMs: fields.integer('timeoutMs', { min: 1, max: 600_000 }),
    }
  }
  return parseFields(raw, read, 'config', secrets)
}

/** Takes the proxy's base address as well as the full one of its intake. */
function intakeOf(endpoint: URL): URL {
  const url = new URL(endpoint)
  const path = url.pathname.replace(/\/+$/, '')
  url.pathname = path.endsWith(intakePath) ? path : `${path}${intakePath}`
  return url
}

/** A list of `name:value`, or an object of them, as the one text that the intake wants. */
function readTags(fields: Fields): string | undefined {
  const written = fields.value('tags')
  if (written === undefined) return undefined
  const tags = tagList(written)
  if (tags === undefined) {
    fields.problem('tags', `must be a list of texts or an object of texts, not ${kindOf(written)}`)
    return undefined
  }
  if (tags.length > maxTags) fields.problem('tags', `are more than ${maxTags}`)
  for (const { at, value, tag } of tags) {
    const problem = textProblem(value, { what: 'a tag, such as env:prod' }) ?? tagProblem(tag)
    if (problem !== undefined) fields.problem(`tags${at}`, problem)
  }
  return tags.length === 0 ? undefined : tags.map(({ tag }) => tag).join(',')
}

interface Tag {
  /** Its place below `tags`. */
  readonly at: string
  readonly value: unknown
  readonly tag: string
}

function tagList(written: unknown): readonly Tag[] | undefined {
  if (Array.isArray(written)) {
    return written.map((value: unknown, index) => ({ at: `[${index}]`, value, tag: textOf(value) }))
  }
  if (isObject(written)) {
    return Object.entries(written).map(([name, value]) => ({
      at: `.${printable(name)}`,
      value,
      tag: `${name}:${textOf(value)}`,
    }))
  }
  return undefined
}

/** An object has no text; it may even refuse to be made one. */
function textOf(value: unknown): string {
  return typeof value === 'object' ? '' : String(value)
}

function tagProblem(tag: string): string | undefined {
  if (tag.includes(',')) return 'holds a comma, which separates tags'
  if (tag.length > maxTagLength) return `is longer than ${maxTagLength} characters`
  return lineProblem(tag)
}

function line(what: string) {
  return { what, maxLength: maxTagLength, check: lineProblem }
}

function lineProblem(text: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(text)) return 'holds a line break or another control character'
  return text === text.trim() ? undefined : 'begins or ends with a space'
}
