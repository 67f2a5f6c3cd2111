/**
 * Certificates for tests, made on the spot: an authority, and what it signs for servers and clients. Written
 * in DER by hand, so that no machine needs an `openssl`; keys are P-256, which is quick.
 *
 *   const authority = createAuthority('test CA')
 *   const server = authority.issue({ name: 'receiver.example', hosts: ['receiver.example', '127.0.0.1'] })
 *   createServer({ cert: server.cert, key: server.key, ca: authority.cert, requestCert: true })
 */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIPv4 } from 'node:net'

/** PEM texts. */
export interface IssuedCertificate {
  readonly cert: string
  readonly key: string
}

export interface CertificateWishes {
  /** The subject's common name, by which a server can tell clients apart. */
  readonly name: string
  /** Names and IPv4 addresses that a server's certificate is valid for. */
  readonly hosts?: readonly string[]
  /** By default from a day ago to ten years ahead. */
  readonly notBefore?: Date
  readonly notAfter?: Date
}

export interface Authority {
  /** Its own certificate, PEM. */
  readonly cert: string
  issue(wishes: CertificateWishes): IssuedCertificate
}

const dayMs = 86_400_000

export function createAuthority(name: string): Authority {
  const { publicKey, privateKey } = keys()
  const cert = certificate({ name }, name, publicKey, privateKey, true)
  return {
    cert,
    issue(wishes) {
      const own = keys()
      return {
        cert: certificate(wishes, name, own.publicKey, privateKey, false),
        key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      }
    },
  }
}

const keys = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** RFC 5280, 4.1. */
function certificate(
  wishes: CertificateWishes,
  issuer: string,
  publicKey: KeyObject,
  signer: KeyObject,
  isAuthority: boolean,
): string {
  const { name, hosts = [], notBefore, notAfter } = wishes
  const body = sequence(
    tagged(0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    ecdsaWithSha256,
    distinguishedName(issuer),
    sequence(
      time(notBefore ?? new Date(Date.now() - dayMs)),
      time(notAfter ?? new Date(Date.now() + 3_650 * dayMs)),
    ),
    distinguishedName(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    tagged(
      3,
      sequence(
        extension('551d13', isAuthority ? sequence(der(0x01, Buffer.from([255]))) : sequence()),
        ...(hosts.length > 0 ? [extension('551d11', sequence(...hosts.map(subjectHost)))] : []),
      ),
    ),
  )
  const signature = sign('sha256', body, signer)
  const whole = sequence(body, ecdsaWithSha256, bits(signature))
  const lines = whole.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content
  const head =
    length < 128
      ? [tag, length]
      : length < 256
        ? [tag, 0x81, length]
        : [tag, 0x82, Math.floor(length / 256), length % 256]
  return Buffer.concat([Buffer.from(head), content])
}

const sequence = (...parts: readonly Buffer[]) => der(0x30, Buffer.concat(parts))
const integer = (value: Buffer) => der(0x02, value)
const objectId = (hex: string) => der(0x06, Buffer.from(hex, 'hex'))
const bits = (value: Buffer) => der(0x03, Buffer.concat([Buffer.from([0]), value]))
const tagged = (number: number, content: Buffer) => der(0xa0 + number, content)
const extension = (id: string, value: Buffer) => sequence(objectId(id), der(0x04, value))
const ecdsaWithSha256 = sequence(objectId('2a8648ce3d040302'))

function distinguishedName(commonName: string): Buffer {
  return sequence(der(0x31, sequence(objectId('550403'), der(0x0c, Buffer.from(commonName)))))
}

function subjectHost(host: string): Buffer {
  return isIPv4(host) ? der(0x87, Buffer.from(host.split('.').map(Number))) : der(0x82, Buffer.from(host))
}

/** UTCTime: YYMMDDHHMMSSZ. */
function time(at: Date): Buffer {
  return der(0x17, Buffer.from(`${at.toISOString().slice(2, 19).replace(/[-:T]/g, '')}Z`))
}
