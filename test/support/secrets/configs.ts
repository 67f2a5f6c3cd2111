/**
 * For each destination type, configs that between them fill every secret field it has. A type without an entry, or
 * a secret field in none of them, fails `test/conformance/secret-fields.test.ts`.
 */
import { randomBytes } from 'node:crypto'
import type { IssuedCertificate } from '../certificates.ts'
import type { Marks } from './marks.ts'

export interface SecretTargets {
  /** `http://…` */
  readonly url: string
  /** `https://…` */
  readonly secureUrl: string
  readonly tokenUrl: string
  readonly client: IssuedCertificate
  readonly ca: string
}

export type Config = Readonly<Record<string, unknown>>
/** One config, by a name that is unique in its type. */
type Variants = (marks: Marks, targets: SecretTargets) => Readonly<Record<string, Config>>

export const oauthClientId = 'spillway'

export const secretConfigs: Readonly<Record<string, Variants>> = {
  http: (marks, { url, secureUrl, tokenUrl, client, ca }) => {
    const secret = (name: string) => marks.text(`http ${name}`)
    const oauth = (clientAuthentication: string) => ({
      url,
      auth: {
        type: 'oauth2',
        tokenUrl,
        clientId: oauthClientId,
        clientSecret: secret('clientSecret'),
        scope: 'logs',
        clientAuthentication,
      },
    })
    return {
      bearer: {
        url: `${url}/${secret('path')}?key=${secret('query')}`,
        auth: { type: 'bearer', token: secret('token') },
      },
      basic: { url, gzip: true, auth: { type: 'basic', username: 'spillway', password: secret('password') } },
      header: { url, format: 'ndjson', auth: { type: 'header', name: 'X-Api-Key', value: secret('value') } },
      headers: {
        url,
        format: 'json_object',
        headers: { 'X-Token': secret('headers'), 'X-Team': secret('team') },
      },
      signing: {
        url,
        signing: { secrets: [1, 2].map((n) => marks.keep(`http signing ${n}`, whsec())) },
      },
      tls: { url: secureUrl, tls: { ca, cert: client.cert, key: marks.keep('http key', client.key) } },
      'oauth, basic': oauth('basic'),
      'oauth, body': oauth('body'),
    }
  },
  datadog: (marks, { url }) => ({
    intake: {
      endpoint: url,
      apiKey: marks.text('datadog apiKey'),
      tags: { env: 'prod' },
      service: 'console',
    },
  }),
}

function whsec(): string {
  return `whsec_${randomBytes(32).toString('base64')}`
}
