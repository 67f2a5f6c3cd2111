/**
 * OAuth 2 client credentials (RFC 6749, 4.4) for senders.
 *
 * A sender has one token at a time: asked for when it is first needed, again shortly before it expires, and once
 * more when the receiver answers 401, with the request repeated once. Sends that need a token at the same moment
 * share one request for it; that request ends when nobody waits for it any more. No token is ever stored.
 *
 * A token endpoint that fails says nothing about the events: its outcome is `retry`, or `unauthorized` where it
 * refuses the client, and never `rejected` or `gone`.
 */
import { exchange } from './exchange.ts'
import type { Fields } from './fields.ts'
import { credentialProblem } from './header-rules.ts'
import type { HttpAnswer, HttpRequest, SenderDeps } from './provider.ts'
import { failureOutcome, malformedAnswer, statusOutcome, type WholeOutcome } from './status.ts'
import { userAgent } from './user-agent.ts'

export interface OAuthConfig {
  readonly tokenUrl: URL
  readonly clientId: string
  readonly clientSecret: string
  readonly scope: string | undefined
  /** Not of the RFC; several identity providers want it. */
  readonly audience: string | undefined
  /** Where the client's credentials go: into the header (the RFC's own choice) or into the body. */
  readonly clientAuthentication: 'basic' | 'body'
}

export function readOAuth(fields: Fields): OAuthConfig {
  return {
    tokenUrl: fields.url('tokenUrl', 'the address of the token endpoint'),
    clientId: fields.text('clientId', { what: 'the id of the client', maxLength: 1024, check: vschar }),
    clientSecret: fields.secret('clientSecret', {
      what: 'the secret of the client',
      maxLength: 4096,
      check: vschar,
    }),
    scope: fields.optionalText('scope', {
      what: 'scopes with spaces between',
      maxLength: 4096,
      check: vschar,
    }),
    audience: fields.optionalText('audience', { what: 'the audience', maxLength: 4096, check: vschar }),
    clientAuthentication: fields.choice('clientAuthentication', ['basic', 'body'], 'basic') ?? 'basic',
  }
}

/** What the RFC allows in a client's id and secret (appendix A). */
function vschar(text: string): string | undefined {
  return /^[\x20-\x7e]*$/.test(text)
    ? undefined
    : 'holds a line break or other characters than printable ASCII'
}

/** Sends one request with these headers within this time. */
export type SendAuthorized = (headers: Record<string, string>, timeoutMs: number) => Promise<WholeOutcome>

export interface Authorizer {
  /** Sends with a token. Getting it, sending, and repeating after a 401 all lie within `timeoutMs`. */
  send(request: SendAuthorized, timeoutMs: number, signal: AbortSignal): Promise<WholeOutcome>
  /** Breaks off a request for a token. */
  close(): void
}

type Deps = Pick<SenderDeps, 'http' | 'now'>

export function openAuthorizer(config: OAuthConfig, deps: Deps): Authorizer {
  const tokens = new Tokens(config, deps)
  return {
    async send(request, timeoutMs, signal) {
      const began = performance.now()
      const left = () => Math.ceil(timeoutMs - (performance.now() - began))
      const first = await tokens.get(left(), signal)
      if (typeof first !== 'string') return first
      if (left() <= 0) return timedOut(timeoutMs)
      const outcome = await request(bearer(first), left())
      if (outcome.kind !== 'unauthorized' || outcome.reason.status !== 401 || left() <= 0) return outcome
      tokens.refused(first)
      const second = await tokens.get(left(), signal)
      if (typeof second !== 'string') return second
      // The same one again is no new token, and asking again no help.
      return second === first || left() <= 0 ? outcome : request(bearer(second), left())
    },
    close: () => tokens.close(),
  }
}

function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` }
}

function timedOut(timeoutMs: number): WholeOutcome {
  return failureOutcome('timeout', `No access token was to be had within ${timeoutMs} ms.`)
}

interface Token {
  readonly text: string
  /** Epoch milliseconds. */
  readonly usableUntil: number
}

interface Asking {
  readonly answer: Promise<string | WholeOutcome>
  readonly stop: AbortController
  waiting: number
}

/** Where the answer does not say how long a token lives: short, because a 401 costs a whole request. */
const assumedLifeMs = 300_000
/** Longer is not believed: a token that was revoked should not be offered for weeks. */
const longestLifeMs = 86_400_000
/** A token is renewed so long before its end, for the time that a request is under way and for clocks. */
const marginMs = 60_000
/** Headers of more than 8 KiB are refused by common servers. */
const maxTokenLength = 8_000

class Tokens {
  readonly #config: OAuthConfig
  readonly #deps: Deps
  #token: Token | undefined
  #asking: Asking | undefined

  constructor(config: OAuthConfig, deps: Deps) {
    this.#config = config
    this.#deps = deps
  }

  /** A token, or the outcome of a send that gets none. */
  async get(timeoutMs: number, signal: AbortSignal): Promise<string | WholeOutcome> {
    signal.throwIfAborted()
    if (this.#token && this.#deps.now() < this.#token.usableUntil) return this.#token.text
    if (timeoutMs <= 0) return timedOut(timeoutMs)
    this.#asking ??= this.#ask(timeoutMs)
    const asking = this.#asking
    asking.waiting += 1
    try {
      return await within(asking.answer, timeoutMs, signal)
    } finally {
      asking.waiting -= 1
      if (asking.waiting === 0) {
        if (this.#asking === asking) this.#asking = undefined
        asking.stop.abort()
      }
    }
  }

  /** The receiver did not take it. Another one may have come in the meantime. */
  refused(token: string): void {
    if (this.#token?.text === token) this.#token = undefined
  }

  close(): void {
    this.#token = undefined
    this.#asking?.stop.abort()
  }

  #ask(timeoutMs: number): Asking {
    const stop = new AbortController()
    const { http, now } = this.#deps
    const askedAt = now()
    let text: string | undefined
    const judge = (answer: HttpAnswer): WholeOutcome => {
      const token = readToken(answer, askedAt)
      if ('kind' in token) return token
      text = token.text
      this.#token = token
      return { kind: 'accepted' }
    }
    const answer = exchange(http, tokenRequest(this.#config, timeoutMs), stop.signal, judge).then(
      (outcome) => text ?? concernsToken(outcome),
    )
    return { answer, stop, waiting: 0 }
  }
}

function tokenRequest(config: OAuthConfig, timeoutMs: number): HttpRequest {
  const { tokenUrl, clientId, clientSecret, scope, audience, clientAuthentication } = config
  const inBody = clientAuthentication === 'body'
  const form = new URLSearchParams({
    grant_type: 'client_credentials',
    ...(scope !== undefined && { scope }),
    ...(audience !== undefined && { audience }),
    ...(inBody && { client_id: clientId, client_secret: clientSecret }),
  })
  // RFC 6749, 2.3.1: both are form-encoded before they become a user name and a password.
  const pair = `${formEncoded(clientId)}:${formEncoded(clientSecret)}`
  return {
    method: 'POST',
    url: tokenUrl,
    headers: {
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded',
      'user-agent': userAgent,
      ...(!inBody && { authorization: `Basic ${Buffer.from(pair).toString('base64')}` }),
    },
    body: form.toString(),
    timeoutMs,
  }
}

function formEncoded(text: string): string {
  return new URLSearchParams({ '': text }).toString().slice(1)
}

/** RFC 6749, 5.1, or what is wrong with the answer; `askedAt` is epoch milliseconds. */
function readToken(answer: HttpAnswer, askedAt: number): Token | WholeOutcome {
  const outcome = statusOutcome(answer, askedAt)
  if (outcome.kind !== 'accepted') return withErrorCode(outcome, answer.body)
  const malformed = (what: string) => malformedAnswer(answer.status, `The token endpoint's answer ${what}.`)
  const members = parseObject(answer.body)
  if (members === undefined) return malformed('is no JSON object, or larger than 64 KiB')
  const { access_token: text, token_type: type, expires_in: expiresIn } = members
  if (typeof text !== 'string' || text === '') return malformed('holds no access_token')
  if (text.length > maxTokenLength)
    return malformed(`holds a token of more than ${maxTokenLength} characters`)
  if (credentialProblem(text) !== undefined) return malformed('holds a token that no header can carry')
  if (type !== undefined && String(type).toLowerCase() !== 'bearer') {
    return malformed('gives a token of another type than Bearer')
  }
  const lifeMs = readLifeMs(expiresIn)
  // A token that lives for a few minutes only is used for most of them.
  return { text, usableUntil: askedAt + lifeMs - Math.min(marginMs, lifeMs / 4) }
}

function readLifeMs(expiresIn: unknown): number {
  const seconds = typeof expiresIn === 'string' ? Number.parseFloat(expiresIn) : expiresIn
  const isKnown = typeof seconds === 'number' && !Number.isNaN(seconds)
  return isKnown ? Math.min(seconds * 1000, longestLifeMs) : assumedLifeMs
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    const isRecord = typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)
    return isRecord ? { ...parsed } : undefined
  } catch {
    return undefined
  }
}

/** RFC 6749, 5.2. Nothing else of the answer's text is repeated. */
const errorCodes = [
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
]

function withErrorCode<O extends Exclude<WholeOutcome, { kind: 'accepted' }>>(outcome: O, body: string): O {
  const code = errorCodes.find((known) => known === parseObject(body)?.error)
  if (code === undefined) return outcome
  const message = outcome.reason.message.replace(/\.$/, ` (${code}).`)
  return { ...outcome, reason: { ...outcome.reason, message } }
}

/** The same failure as one of the token endpoint's. */
function concernsToken(outcome: WholeOutcome): WholeOutcome {
  if (outcome.kind === 'accepted') return outcome
  const said = outcome.reason.message.replace(/^The receiver/, 'The token endpoint')
  const message = said.startsWith('The token endpoint') ? said : `At the token endpoint: ${said}`
  const reason = { ...outcome.reason, message }
  if (outcome.kind === 'retry') return { ...outcome, reason }
  // 400 is how a token endpoint refuses a client or a grant (5.2); any other refusal is a wrong address.
  const refused = outcome.kind === 'unauthorized' || reason.status === 400
  return { kind: refused ? 'unauthorized' : 'retry', reason }
}

/** Waits for `work` no longer than this. It goes on by itself, for others. */
function within(
  work: Promise<string | WholeOutcome>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<string | WholeOutcome> {
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
    const onAbort = () => {
      done()
      reject(signal.reason)
    }
    const timer = setTimeout(() => {
      done()
      resolve(timedOut(timeoutMs))
    }, timeoutMs)
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(done)
  })
}
