/** The `tls` setting: a private authority to trust, and a certificate to show (mTLS). All in PEM. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { Fields } from './fields.ts'
import type { TlsIdentity } from './provider.ts'
import type { WholeOutcome } from './status.ts'

export interface TlsConfig {
  readonly identity: TlsIdentity
  /** The client certificate's end, in epoch milliseconds; none without one. */
  readonly expiresAt: number | undefined
}

/** An authority's bundle may hold many; a chain or a key is much shorter. */
const maxLength = 262_144

export function readTls(fields: Fields): TlsConfig {
  const rule = (what: string) => ({ what: `${what} in PEM`, maxLength, check: certificateProblem })
  const ca = fields.optionalText('ca', rule('certificates of the authorities to trust'))
  const cert = fields.optionalText('cert', rule('the client certificate, with its chain'))
  const hasKey = fields.value('key') !== undefined
  const keyRule = { what: "the client certificate's private key in PEM", maxLength, check: keyProblem }
  const key = hasKey ? fields.secret('key', keyRule) : undefined

  if (cert !== undefined && key === undefined)
    fields.problem('key', 'is missing; a certificate needs its key')
  if (cert === undefined && key !== undefined)
    fields.problem('cert', 'is missing; a key needs its certificate')
  const leaf = cert === undefined ? undefined : parseCertificates(cert)?.[0]
  if (leaf && key && !leaf.checkPrivateKey(createPrivateKey(key))) {
    fields.problem('key', 'is not the key of the certificate in cert')
  }
  return {
    identity: {
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
    },
    expiresAt: leaf?.validToDate.getTime(),
  }
}

/**
 * Whether an old certificate is taken is for the receiver to say, so one that has expired is shown all the same.
 * Where no answer comes, that it has expired is the likely cause, which no error of the connection names.
 */
export function explainTls(outcome: WholeOutcome, { expiresAt }: TlsConfig, now: number): WholeOutcome {
  if (outcome.kind !== 'retry' || outcome.reason.status !== undefined) return outcome
  if (expiresAt === undefined || expiresAt > now) return outcome
  const message = `${outcome.reason.message} The client certificate expired on ${new Date(expiresAt).toISOString()}.`
  return { ...outcome, reason: { ...outcome.reason, message } }
}

function certificateProblem(text: string): string | undefined {
  if (text.includes('PRIVATE KEY-----')) return 'holds a private key; put it into key'
  const certificates = parseCertificates(text)
  if (certificates === undefined) return 'holds a certificate that cannot be read'
  return certificates.length === 0 ? 'holds no certificate in PEM (-----BEGIN CERTIFICATE-----)' : undefined
}

/** Undefined where one of them is none. */
function parseCertificates(text: string): X509Certificate[] | undefined {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? []
  try {
    return blocks.map((block) => new X509Certificate(block))
  } catch {
    return undefined
  }
}

function keyProblem(text: string): string | undefined {
  if (/BEGIN ENCRYPTED|Proc-Type: 4,ENCRYPTED/.test(text))
    return 'is protected by a passphrase; write it without one'
  try {
    createPrivateKey(text)
    return undefined
  } catch {
    return 'is not a private key in PEM (-----BEGIN PRIVATE KEY-----)'
  }
}
