/**
 * A token endpoint for the client credentials grant, as RFC 6749 (2.3.1, 4.4, 5) describes it: who may ask, in
 * which form, and what is answered. `test/conformance/oauth.test.ts` proves it with `oauth4webapi` first. Each
 * answer gives another token, so that it shows whether one was asked for.
 */
import type { PlainReply, ReceivedRequest } from '../receiver.ts'

export interface TokenEndpointOptions {
  readonly clientId: string
  readonly clientSecret: string
  /** Seconds; null leaves it out of the answer. Default 3600. */
  readonly expiresIn?: number | string | null
  /** What every token begins with. */
  readonly tokenPrefix?: string
}

export interface TokenEndpoint {
  /** The tokens given so far. */
  readonly tokens: readonly string[]
  /** `scope` and `audience` of the requests that were answered. */
  readonly asked: readonly { readonly scope: string | null; readonly audience: string | null }[]
  answer(request: ReceivedRequest): PlainReply
  /** Whether a request's `Authorization` carries the newest token. */
  admits(request: ReceivedRequest): boolean
}

export function tokenEndpoint(options: TokenEndpointOptions): TokenEndpoint {
  const tokens: string[] = []
  const asked: TokenEndpoint['asked'][number][] = []
  return {
    tokens,
    asked,
    answer(request) {
      const refusal = refuse(request, options)
      if (refusal !== undefined) return refusal
      const form = new URLSearchParams(request.body.toString())
      asked.push({ scope: form.get('scope'), audience: form.get('audience') })
      const token = `${options.tokenPrefix ?? 'token'}-${tokens.length + 1}.a~b+c/d=`
      tokens.push(token)
      const { expiresIn = 3600 } = options
      return json(200, {
        access_token: token,
        token_type: 'Bearer',
        ...(expiresIn !== null && { expires_in: expiresIn }),
      })
    },
    admits: ({ headers }) => tokens.length > 0 && headers.authorization === `Bearer ${tokens.at(-1)}`,
  }
}

function refuse(
  request: ReceivedRequest,
  { clientId, clientSecret }: TokenEndpointOptions,
): PlainReply | undefined {
  if (request.method !== 'POST') return { status: 405 }
  if (request.headers['content-type']?.split(';')[0] !== 'application/x-www-form-urlencoded') {
    return json(400, { error: 'invalid_request' })
  }
  const form = new URLSearchParams(request.body.toString())
  const names = [...form.keys()]
  if (new Set(names).size < names.length) return json(400, { error: 'invalid_request' })
  if (form.get('grant_type') !== 'client_credentials') return json(400, { error: 'unsupported_grant_type' })
  const { authorization } = request.headers
  const inBody = form.has('client_secret')
  // A client must not use more than one way in a request (2.3).
  if (inBody && authorization !== undefined) return json(400, { error: 'invalid_request' })
  const [id, secret] = inBody ? [form.get('client_id'), form.get('client_secret')] : readBasic(authorization)
  if (id === clientId && secret === clientSecret) return undefined
  const challenge = authorization === undefined ? {} : { 'www-authenticate': 'Basic realm="tokens"' }
  return json(401, { error: 'invalid_client' }, challenge)
}

/** User name and password are form-encoded before they are joined. */
function readBasic(authorization: string | undefined): (string | undefined)[] {
  const [, encoded = ''] = /^Basic (\S+)$/.exec(authorization ?? '') ?? []
  const [id = '', secret = ''] = Buffer.from(encoded, 'base64').toString().split(':')
  return [id, secret].map((text) => decodeURIComponent(text.replaceAll('+', ' ')))
}

function json(status: number, body: object, headers: Readonly<Record<string, string>> = {}): PlainReply {
  return {
    status,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers },
    body: JSON.stringify(body),
  }
}
