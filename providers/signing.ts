/**
 * Signatures by Standard Webhooks (github.com/standard-webhooks, spec/standard-webhooks.md): HMAC-SHA256 over
 * `id.timestamp.body`, one for each secret, so that a receiver that has the old or the new one can verify.
 */
import { createHmac } from 'node:crypto'
import type { Fields } from './fields.ts'

const prefix = 'whsec_'

/** More than a rotation needs; each adds 47 bytes to a header. */
const maxSecrets = 8

/** The keys to sign with, at least one. */
export function readSigning(fields: Fields): readonly Uint8Array[] {
  const rule = {
    what: 'a secret such as whsec_…, 24 to 64 bytes in base64',
    maxLength: 128,
    check: secretProblem,
  }
  return fields.secrets('secrets', rule, { min: 1, max: maxSecrets }).map(keyOf)
}

/** `v1,<base64>` for each key, separated by spaces. `timestamp` is in seconds, `body` before compression. */
export function signatures(
  keys: readonly Uint8Array[],
  id: string,
  timestamp: number,
  body: Uint8Array | string,
): string {
  const signed = (key: Uint8Array) => createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body)
  return keys.map((key) => `v1,${signed(key).digest('base64')}`).join(' ')
}

function secretProblem(secret: string): string | undefined {
  if (!secret.startsWith(prefix)) return `must begin with ${prefix}`
  const text = secret.slice(prefix.length).replace(/=+$/, '')
  const key = keyOf(secret)
  // Node's reader passes over what is not base64; a slip must not become another key.
  if (Buffer.from(key).toString('base64').replace(/=+$/, '') !== text) return `is not base64 after ${prefix}`
  if (key.length < 24 || key.length > 64) return `must hold from 24 to 64 bytes, not ${key.length}`
  return undefined
}

function keyOf(secret: string): Uint8Array {
  return Buffer.from(secret.slice(prefix.length), 'base64')
}
