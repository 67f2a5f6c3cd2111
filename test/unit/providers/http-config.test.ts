import { describe, expect, it } from 'vitest'
import { parseHttpConfig } from '../../../providers/http/config.ts'
import { http } from '../../../providers/http/index.ts'
import { DestinationConfigError } from '../../../providers/provider.ts'

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
