/** Errors of undici, Node's sockets, the resolver and OpenSSL as one of the contract's failure codes. */
import { HttpFailure } from '../../providers/provider.ts'

type Code = HttpFailure['code']

const codes: Readonly<Record<string, Code>> = {
  ECONNREFUSED: 'connection_refused',
  ECONNRESET: 'connection_reset',
  ECONNABORTED: 'connection_reset',
  EPIPE: 'connection_reset',
  UND_ERR_SOCKET: 'connection_reset',
  ETIMEDOUT: 'timeout',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
  ENOTFOUND: 'dns',
  ENODATA: 'dns',
  ESERVFAIL: 'dns',
  ETIMEOUT: 'dns',
  EPROTO: 'tls',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'tls',
  SELF_SIGNED_CERT_IN_CHAIN: 'tls',
  HOSTNAME_MISMATCH: 'tls',
  INVALID_CA: 'tls',
  INVALID_PURPOSE: 'tls',
  PATH_LENGTH_EXCEEDED: 'tls',
  UND_ERR_DESTROYED: 'aborted',
  UND_ERR_CLOSED: 'aborted',
  UND_ERR_ABORTED: 'aborted',
}

/** Families of codes: `getaddrinfo`'s, Node's TLS layer's, and OpenSSL's verdicts on a certificate. */
const prefixes: readonly (readonly [string, Code])[] = [
  ['EAI_', 'dns'],
  ['ERR_TLS_', 'tls'],
  ['ERR_SSL_', 'tls'],
  ['CERT_', 'tls'],
  ['CRL_', 'tls'],
  ['ERROR_IN_CERT', 'tls'],
  ['ERROR_IN_CRL', 'tls'],
  ['UNABLE_TO_', 'tls'],
]

const sentences: Readonly<Record<Code, string>> = {
  connection_refused: 'The receiver refused the connection',
  connection_reset: 'The connection broke before the answer was complete',
  timeout: 'The receiver did not answer in time',
  dns: "The receiver's host name could not be resolved",
  tls: 'No trusted TLS connection came about',
  network: 'The request failed on the network',
  address_refused: 'The address is not a public one',
  egress_proxy: 'No connection through the egress proxy came about',
  aborted: 'The HTTP client was closed',
}

/**
 * The message is built from the error's code alone. The error's own text may name the address, and a
 * parser's error carries the bytes of the answer; that one is not even kept as the cause (I8).
 */
export function httpFailure(error: unknown): HttpFailure {
  if (error instanceof HttpFailure) return error
  const systemCode = systemCodeOf(error)
  const code = kindOf(systemCode)
  const detail = systemCode === undefined ? '' : ` (${systemCode})`
  const keepsAnswer = error instanceof Error && 'data' in error
  return new HttpFailure(code, `${sentences[code]}${detail}.`, keepsAnswer ? undefined : { cause: error })
}

function kindOf(systemCode: string | undefined): Code {
  if (systemCode === undefined) return 'network'
  const known = codes[systemCode] ?? prefixes.find(([prefix]) => systemCode.startsWith(prefix))?.[1]
  return known ?? 'network'
}

/** The error's own code, or that of what it wraps: several addresses tried, or a cause. */
export function systemCodeOf(error: unknown): string | undefined {
  let current = error
  // Wrapping is two deep at most in practice; a cause that leads back to itself must not hold us.
  for (let depth = 0; depth < 4 && current instanceof Error; depth += 1) {
    if ('code' in current && typeof current.code === 'string' && /^[A-Z0-9_]{1,60}$/.test(current.code)) {
      return current.code
    }
    current = current instanceof AggregateError ? current.errors[0] : current.cause
  }
  return undefined
}
