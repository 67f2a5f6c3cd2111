import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { HttpFailure } from '../../../providers/provider.ts'
import { httpFailure } from '../../../src/egress/failure.ts'

function withCode(code: string, cause?: unknown): Error {
  return Object.assign(new Error('connect to 10.0.0.7 with secret', { cause }), { code })
}

describe('an error of the network', () => {
  it.each([
    ['ECONNREFUSED', 'connection_refused'],
    ['ECONNRESET', 'connection_reset'],
    ['EPIPE', 'connection_reset'],
    ['UND_ERR_SOCKET', 'connection_reset'],
    ['ETIMEDOUT', 'timeout'],
    ['UND_ERR_CONNECT_TIMEOUT', 'timeout'],
    ['UND_ERR_HEADERS_TIMEOUT', 'timeout'],
    ['UND_ERR_BODY_TIMEOUT', 'timeout'],
    ['ENOTFOUND', 'dns'],
    ['EAI_AGAIN', 'dns'],
    ['EAI_FAIL', 'dns'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'tls'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'tls'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'tls'],
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'tls'],
    ['CERT_HAS_EXPIRED', 'tls'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'tls'],
    ['EPROTO', 'tls'],
    ['EHOSTUNREACH', 'network'],
    ['UND_ERR_HEADERS_OVERFLOW', 'network'],
    ['HPE_INVALID_CONSTANT', 'network'],
    ['UND_ERR_DESTROYED', 'aborted'],
  ])('%s is %s', (code, expected) => {
    const failure = httpFailure(withCode(code))
    expect(failure.code).toBe(expected)
    expect(failure.message).toMatch(new RegExp(`\\(${code}\\)\\.$`))
    expect(failure.message).not.toContain('secret')
  })

  it('is known by what it wraps', () => {
    const refused = withCode('ECONNREFUSED')
    expect(httpFailure(new AggregateError([refused, withCode('ENETUNREACH')])).code).toBe(
      'connection_refused',
    )
    expect(httpFailure(new TypeError('fetch failed', { cause: refused })).code).toBe('connection_refused')
  })

  it.each([undefined, 'text', new Error('plain'), withCode('a code with words')])(
    '(%s) may be of no kind',
    (error) => {
      expect(httpFailure(error)).toMatchObject({
        code: 'network',
        message: 'The request failed on the network.',
      })
    },
  )

  it('may lead back to itself', () => {
    const circle = new Error('circle')
    circle.cause = circle
    expect(httpFailure(circle).code).toBe('network')
  })

  it('stays as it is if it is a failure already', () => {
    const failure = new HttpFailure('dns', 'refused by the guard')
    expect(httpFailure(failure)).toBe(failure)
  })

  it('does not take the bytes of the answer with it', () => {
    const error = Object.assign(withCode('HPE_INVALID_CONSTANT'), { data: Buffer.from('hush') })
    const failure = httpFailure(error)
    expect(failure.code).toBe('network')
    expect(inspect(failure, { depth: null, showHidden: true })).not.toMatch(/hush|68 75 73 68/)
  })
})
