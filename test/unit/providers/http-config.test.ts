import { createPrivateKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { parseHttpConfig } from '../../../providers/http/config.ts'
import { http } from '../../../providers/http/index.ts'
import { DestinationConfigError } from '../../../providers/provider.ts'
import { createAuthority } from '../../support/certificates.ts'

const url = 'https://example.com/hook'

function problems(raw: unknown): Record<string, string> {
  try {
    parseHttpConfig(raw)
  } catch (error) {
    if (error instanceof DestinationConfigError) {
      return Object.fromEntries(error.fields.map(({ field, problem }) => [field, problem]))
    }
    throw error
  }
  return {}
}

describe('the config of http', () => {
  it('needs an address and nothing else', () => {
    expect(parseHttpConfig({ url })).toEqual({
      url: new URL(url),
      method: 'POST',
      headers: {},
      oauth: undefined,
      signingKeys: [],
      tls: undefined,
      format: 'json_array',
      template: undefined,
      gzip: false,
      timeoutMs: undefined,
    })
  })

  it.each(['secret', 'mtls', 'oauth2'])('does not know %s and refuses it', (name) => {
    expect(problems({ url, [name]: {} })).toHaveProperty([`config.${name}`])
  })

  it.each([{ $secret: 'name' }, 7, ['x']])('refuses the token %j', (token) => {
    expect(problems({ url, auth: { type: 'bearer', token } })).toHaveProperty(['config.auth.token'])
  })

  it.each([
    ['method', 'GET'],
    ['format', 'xml'],
    ['gzip', 'yes'],
    ['timeoutMs', 0],
    ['timeoutMs', 600_001],
    ['template', 7],
    ['headers', 'X-A: b'],
  ])('refuses %s %j', (name, value) => {
    expect(Object.keys(problems({ url, [name]: value }))).toEqual([`config.${name}`])
  })
})

describe('auth', () => {
  it.each([
    [{ type: 'none' }, {}],
    [{ type: 'bearer', token: 'abc' }, { authorization: 'Bearer abc' }],
    [{ type: 'basic', username: 'ü', password: 'p:w' }, { authorization: 'Basic w7w6cDp3' }],
    [{ type: 'header', name: 'X-Key', value: 'abc' }, { 'x-key': 'abc' }],
    [{ type: 'header', name: 'Authorization', value: 'Splunk abc' }, { authorization: 'Splunk abc' }],
  ])('%j becomes a header', (auth, headers) => {
    expect(parseHttpConfig({ url, auth }).headers).toEqual(headers)
  })

  it.each([
    [{}, ['type']],
    [{ type: 'digest', token: 'abc' }, ['type']],
    [{ type: 'none', token: 'abc' }, ['token']],
    [{ type: 'bearer' }, ['token']],
    [{ type: 'bearer', token: '' }, ['token']],
    [{ type: 'bearer', token: 'a b' }, ['token']],
    [{ type: 'bearer', token: 'abc\n' }, ['token']],
    [{ type: 'bearer', tokem: 'abc' }, ['token', 'tokem']],
    [{ type: 'basic', username: 'a:b', password: 'p' }, ['username']],
    [{ type: 'basic' }, ['username', 'password']],
    [{ type: 'header', name: 'X Key', value: 'abc' }, ['name']],
    [{ type: 'header', name: 'Host', value: 'abc' }, ['name']],
    [{ type: 'header', name: 'X-Key', value: 'a\r\nHost: evil' }, ['value']],
  ])('%j is refused', (auth, fields) => {
    expect(Object.keys(problems({ url, auth }))).toEqual(fields.map((field) => `config.auth.${field}`))
  })
})

describe('oauth2', () => {
  const auth = { type: 'oauth2', tokenUrl: 'https://id.example/token', clientId: 'c', clientSecret: 's' }

  it('is a client that asks for tokens by the header, unless it says otherwise', () => {
    const { oauth, headers } = parseHttpConfig({ url, auth })
    expect(headers).toEqual({})
    expect(oauth).toEqual({
      tokenUrl: new URL(auth.tokenUrl),
      clientId: 'c',
      clientSecret: 's',
      scope: undefined,
      audience: undefined,
      clientAuthentication: 'basic',
    })
  })

  it.each([
    [{ tokenUrl: undefined }, ['tokenUrl']],
    [{ tokenUrl: 'https://user:pass@id.example/' }, ['tokenUrl']],
    [{ clientId: undefined, clientSecret: undefined }, ['clientId', 'clientSecret']],
    [{ clientSecret: 'a\nb' }, ['clientSecret']],
    [{ clientAuthentication: 'none' }, ['clientAuthentication']],
    [{ scopes: 'x' }, ['scopes']],
  ])('with %j is refused', (changes, fields) => {
    expect(Object.keys(problems({ url, auth: { ...auth, ...changes } }))).toEqual(
      fields.map((field) => `config.auth.${field}`),
    )
  })
})

describe('signing', () => {
  const secret = (bytes: number) => `whsec_${Buffer.alloc(bytes, 0xfb).toString('base64')}`

  it('has the bytes of its secrets', () => {
    const { signingKeys } = parseHttpConfig({
      url,
      signing: { secrets: [secret(24), secret(64).replace(/=+$/, '')] },
    })
    expect(signingKeys.map((key) => Buffer.from(key))).toEqual([
      Buffer.alloc(24, 0xfb),
      Buffer.alloc(64, 0xfb),
    ])
  })

  it.each([
    [{}, 'secrets', 'is missing'],
    [{ secrets: [] }, 'secrets', 'from 1 to 8'],
    [{ secrets: Array.from({ length: 9 }, () => secret(32)) }, 'secrets', 'from 1 to 8'],
    [{ secrets: secret(32) }, 'secrets', 'must be a list'],
    [{ secrets: [secret(32), secret(23)] }, 'secrets[1]', 'from 24 to 64 bytes, not 23'],
    [{ secrets: [secret(65)] }, 'secrets[0]', 'not 65'],
    [{ secrets: [secret(32).slice(6)] }, 'secrets[0]', 'must begin with whsec_'],
    [{ secrets: [secret(32).replace('+', '-')] }, 'secrets[0]', 'is not base64'],
    [{ secrets: [`${secret(32)} `] }, 'secrets[0]', 'is not base64'],
    [{ secrets: [7] }, 'secrets[0]', 'must be text'],
    [{ secrets: [''] }, 'secrets[0]', 'is empty'],
    [{ secrets: [secret(32)], secret: 'x' }, 'secret', 'is not a field'],
  ])('with %j is refused at %s', (signing, field, part) => {
    const found = problems({ url, signing })
    expect(Object.keys(found)).toEqual([`config.signing.${field}`])
    expect(found[`config.signing.${field}`]).toContain(part)
    expect(JSON.stringify(found)).not.toContain('+/v7')
  })
})

describe('tls', () => {
  const authority = createAuthority('test CA')
  const { cert, key } = authority.issue({ name: 'client' })
  const other = authority.issue({ name: 'other', notAfter: new Date(0) })
  const ca = authority.cert
  const locked = createPrivateKey(key)
    .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
    .toString()

  it.each([
    { ca },
    { ca: ca + other.cert },
    { cert, key },
    { ca, cert: cert + ca, key },
    // Whether an old certificate is taken is for the receiver to say.
    { cert: other.cert, key: other.key },
  ])('takes certificates and keys that belong together', (tls) => {
    expect(parseHttpConfig({ url, tls }).tls?.identity).toEqual(tls)
  })

  it.each<[string, object, string, string]>([
    ['a key without its certificate', { key }, 'cert', 'is missing'],
    ['a certificate without its key', { cert }, 'key', 'is missing'],
    ['the key of another one', { cert, key: other.key }, 'key', 'is not the key of the certificate'],
    [
      'the key of an authority in its chain',
      { cert: cert + other.cert, key: other.key },
      'key',
      'is not the key',
    ],
    ['a key where a certificate belongs', { cert: key, key }, 'cert', 'holds a private key'],
    ['a certificate where a key belongs', { cert, key: cert }, 'key', 'is not a private key'],
    ['a key with a passphrase', { cert, key: locked }, 'key', 'a passphrase'],
    ['no PEM', { ca: 'abc' }, 'ca', 'no certificate in PEM'],
    ['a damaged certificate', { ca: ca.replace(/M../, 'AAA') }, 'ca', 'cannot be read'],
    ['a name that it does not know', { ca, cipher: 'x' }, 'cipher', 'is not a field'],
  ])('refuses %s', (_, tls, field, part) => {
    const found = problems({ url, tls })
    expect(found[`config.tls.${field}`]).toContain(part)
    expect(JSON.stringify(found)).not.toContain(key.split('\n')[1] ?? '')
  })

  it('needs https', () => {
    expect(problems({ url: 'http://example.com', tls: { ca } })).toHaveProperty(['config.tls'])
    expect(Object.keys(problems({ tls: { ca } }))).toEqual(['config.url'])
  })
})

describe('headers', () => {
  it('are sent in lower case', () => {
    expect(parseHttpConfig({ url, headers: { 'X-Team': 'core', Accept: '*/*' } }).headers).toEqual({
      'x-team': 'core',
      accept: '*/*',
    })
  })

  it.each([
    'Host',
    'content-length',
    'Content-Type',
    'Transfer-Encoding',
    'connection',
    'Content-Encoding',
    'webhook-id',
    'Webhook-Timestamp',
    'webhook-signature',
    'Idempotency-Key',
    'Authorization',
    'Spillway-Anything',
    'Proxy-Authorization',
    'User-Agent',
    'Expect',
    'Keep-Alive',
    'TE',
    'Trailer',
    'Upgrade',
  ])('may not set %s', (name) => {
    expect(Object.keys(problems({ url, headers: { [name]: 'x' } }))).toEqual([`config.headers.${name}`])
  })

  it.each(['', 'X Y', 'X:Y', 'X\r\nY', 'Ü', '{x}'])('may not be called %j', (name) => {
    expect(Object.keys(problems({ url, headers: { [name]: 'x' } }))).toHaveLength(1)
  })

  it.each(['a\r\nb', 'a\nb', 'ü', 'a\u0000', ' a', 'a ', '', 7, null])('may not say %j', (value) => {
    expect(Object.keys(problems({ url, headers: { 'X-A': value } }))).toEqual(['config.headers.X-A'])
  })

  it('may not come twice, in another case or beside auth', () => {
    expect(problems({ url, headers: { 'X-A': '1', 'x-a': '2' } })).toHaveProperty(['config.headers.x-a'])
    const auth = { type: 'header', name: 'X-A', value: '1' }
    expect(problems({ url, auth, headers: { 'x-a': '2' } })).toHaveProperty(['config.headers.x-a'])
  })

  it('may not be longer than a server takes', () => {
    const headers = Object.fromEntries([1, 2].map((n) => [`X-${n}`, 'x'.repeat(4_000)]))
    expect(Object.keys(problems({ url, headers }))).toEqual(['config.headers'])
  })
})

describe('the framing', () => {
  it.each([
    ['json_array', { prefix: '[', separator: ',', suffix: ']', gzip: false }],
    ['ndjson', { prefix: '', separator: '\n', suffix: '\n', gzip: false }],
    ['json_object', { prefix: '', separator: '', suffix: '', gzip: false, onePerRequest: true }],
  ])('of %s leaves room for the largest event', (format, framing) => {
    const config = parseHttpConfig({ url, format })
    expect(http.framing(config)).toEqual(framing)
    const { maxBytes, maxEventBytes } = http.limits(config)
    expect(maxEventBytes + framing.prefix.length + framing.suffix.length).toBe(maxBytes)
  })
})
