/** The settings of an `http` destination. Every one that is not named here is refused. */
import { type Fields, parseFields, printable } from '../fields.ts'
import { credentialProblem, headerNameProblem, headerValueProblem } from '../header-rules.ts'
import { type OAuthConfig, readOAuth } from '../oauth.ts'
import type { Secrets } from '../provider.ts'
import { readSigning } from '../signing.ts'
import { readTls, type TlsConfig } from '../tls.ts'
import { compileTemplate, type Template } from './template.ts'

const formats = ['json_array', 'ndjson', 'json_object'] as const
export type Format = (typeof formats)[number]

export interface HttpConfig {
  readonly url: URL
  readonly method: 'POST' | 'PUT'
  /** The user's own and the one that carries the credentials. */
  readonly headers: Readonly<Record<string, string>>
  /** Where a token is the credential, and has to be asked for. */
  readonly oauth: OAuthConfig | undefined
  /** Each request is signed with all of them. */
  readonly signingKeys: readonly Uint8Array[]
  readonly tls: TlsConfig | undefined
  readonly format: Format
  /** Stands in for the envelope. */
  readonly template: Template | undefined
  readonly gzip: boolean
  /** Goes before the daemon's own. */
  readonly timeoutMs: number | undefined
}

/** The longest that a destination may hold its lane: 10 min. */
const maxTimeoutMs = 600_000

/** Names and values together; common servers refuse more than 8 KiB of headers. */
const maxHeadersLength = 6144

/** Set by Spillway, or by the connection itself. */
const reservedHeaders = new Set([
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  'http2-settings',
  'idempotency-key',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
])
const reservedPrefixes = ['webhook-', 'spillway-', 'proxy-']

/** Throws `DestinationConfigError`. */
export function parseHttpConfig(raw: unknown, secrets?: Secrets): HttpConfig {
  const read = (fields: Fields): HttpConfig => {
    const url = fields.secretUrl('url', 'the address to send to, such as https://example.com/audit')
    const method = fields.choice('method', ['POST', 'PUT'], 'POST') ?? 'POST'
    const { header, oauth } = fields.nested('auth', readAuth) ?? {}
    const tls = fields.nested('tls', readTls)
    if (tls && url.protocol !== 'https:') fields.problem('tls', 'needs a url that begins with https://')
    return {
      url,
      method,
      headers: { ...readHeaders(fields, header?.[0]), ...Object.fromEntries(header ? [header] : []) },
      oauth,
      signingKeys: fields.nested('signing', readSigning) ?? [],
      tls,
      format: fields.choice('format', formats, 'json_array') ?? 'json_array',
      template: readTemplate(fields),
      gzip: fields.flag('gzip', false),
      timeoutMs: fields.integer('timeoutMs', { min: 1, max: maxTimeoutMs }),
    }
  }
  return parseFields(raw, read, 'config', secrets)
}

interface Credentials {
  /** The header that carries them, as far as they are known. */
  readonly header?: readonly [name: string, value: string]
  readonly oauth?: OAuthConfig
}

function readAuth(fields: Fields): Credentials {
  const type = fields.choice('type', ['none', 'bearer', 'basic', 'header', 'oauth2'])
  switch (type) {
    case 'none':
      return {}
    case 'oauth2':
      return { oauth: readOAuth(fields) }
    case 'bearer': {
      const rule = { what: 'the token, without the word Bearer', maxLength: 4096, check: credentialProblem }
      return { header: ['authorization', `Bearer ${fields.secret('token', rule)}`] }
    }
    case 'basic': {
      const username = fields.text('username', { what: 'the user name', maxLength: 1024, check: userProblem })
      const password = fields.secret('password', {
        what: 'the password',
        maxLength: 1024,
        check: lineProblem,
      })
      const pair = Buffer.from(`${username}:${password}`).toString('base64')
      return { header: ['authorization', `Basic ${pair}`] }
    }
    case 'header': {
      const name = fields.text('name', { what: 'a header name, such as X-Api-Key', check: authNameProblem })
      const value = fields.secret('value', {
        what: "the header's value",
        maxLength: 4096,
        check: headerValueProblem,
      })
      return { header: [name.toLowerCase(), value] }
    }
    case undefined:
      fields.letUnknownPass()
      return {}
    default:
      return type satisfies never
  }
}

function readHeaders(fields: Fields, authName: string | undefined): Record<string, string> {
  const headers = new Map<string, string>()
  let length = 0
  for (const [written, value] of fields.members('headers')) {
    const name = written.toLowerCase()
    const problem =
      headerNameProblem(written) ??
      reservedProblem(name) ??
      (name === authName ? 'is set by auth as well; write it once' : undefined) ??
      (headers.has(name) ? 'is there twice; upper and lower case are the same header' : undefined)
    if (problem !== undefined) fields.problem(`headers.${printable(written)}`, problem)
    // People put tokens here as well.
    const rule = { what: "the header's value", maxLength: 4096, check: headerValueProblem }
    headers.set(name, fields.secretAt(['headers', written], value, rule))
    length += name.length + (headers.get(name)?.length ?? 0)
  }
  if (length > maxHeadersLength)
    fields.problem('headers', `are longer than ${maxHeadersLength} characters together`)
  return Object.fromEntries(headers)
}

function readTemplate(fields: Fields): Template | undefined {
  const document = fields.value('template')
  if (document === undefined) return undefined
  return compileTemplate(document, (path, problem) => fields.problem(`template${path}`, problem))
}

function reservedProblem(name: string): string | undefined {
  if (name === 'authorization') return 'holds credentials; put them into auth'
  if (reservedHeaders.has(name) || reservedPrefixes.some((prefix) => name.startsWith(prefix))) {
    return 'is set by Spillway itself; leave it out'
  }
  return undefined
}

function authNameProblem(name: string): string | undefined {
  const isAuthorization = name.toLowerCase() === 'authorization'
  return headerNameProblem(name) ?? (isAuthorization ? undefined : reservedProblem(name.toLowerCase()))
}

function userProblem(username: string): string | undefined {
  return username.includes(':') ? 'holds a colon, which ends a user name (RFC 7617)' : lineProblem(username)
}

/** Base64 carries any character; RFC 7617 excludes only these. */
function lineProblem(text: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return /[\u0000-\u001f\u007f]/.test(text) ? 'holds a line break or another control character' : undefined
}
