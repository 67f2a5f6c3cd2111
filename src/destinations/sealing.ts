/**
 * Secrets at rest: `enc:v1:<key id>:<payload>`, AES-256-GCM. The payload is base64url of nonce, ciphertext and
 * tag. The version, the key id and the destination's id are authenticated with it, so a ciphertext that was
 * moved to another row, put under another key id or changed in any bit does not open.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

export interface SecretKey {
  /** Letters, digits, `_` and `-`. */
  readonly id: string
  /** 32 bytes: AES-256. */
  readonly key: Uint8Array
}

const algorithm = 'aes-256-gcm'
/** 96 bits (SP 800-38D, 8.2.2): drawn at random for each encryption, good for 2^32 of them under one key. */
const nonceBytes = 12
const tagBytes = 16

const form = /^enc:v1:([A-Za-z0-9_-]{1,32}):([A-Za-z0-9_-]+)$/

export function seal(plain: string, destinationId: number, { id, key }: SecretKey): string {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv(algorithm, key, nonce, { authTagLength: tagBytes })
  cipher.setAAD(associated(id, destinationId))
  const payload = Buffer.concat([nonce, cipher.update(plain, 'utf8'), cipher.final(), cipher.getAuthTag()])
  return `enc:v1:${id}:${payload.toString('base64url')}`
}

export type Unsealed = { readonly value: string } | { readonly problem: string }

/** The plain text, or why it cannot be had; that says no part of either. */
export function unseal(sealed: string, destinationId: number, keys: readonly SecretKey[]): Unsealed {
  const [, id, text = ''] = form.exec(sealed) ?? []
  const payload = Buffer.from(text, 'base64url')
  const isWhole = payload.toString('base64url') === text && payload.length > nonceBytes + tagBytes
  if (id === undefined || !isWhole) {
    return {
      problem: 'is not an encrypted secret that this version can read (enc:v1:<key id>:…), or was cut off',
    }
  }
  const key = keys.find((each) => each.id === id)
  if (key === undefined) {
    return { problem: `is encrypted with the key "${id}", which is not in SPILLWAY_SECRET_KEYS` }
  }
  const decipher = createDecipheriv(algorithm, key.key, payload.subarray(0, nonceBytes), {
    authTagLength: tagBytes,
  })
  decipher.setAAD(associated(id, destinationId))
  decipher.setAuthTag(payload.subarray(-tagBytes))
  try {
    const plain = Buffer.concat([decipher.update(payload.subarray(nonceBytes, -tagBytes)), decipher.final()])
    return { value: plain.toString('utf8') }
  } catch {
    return {
      problem:
        `does not open with the key "${id}": it was encrypted for another destination, with another key of ` +
        'this id, or has been changed',
    }
  }
}

/** The id of the key that a ciphertext names; nothing for any other text. */
export function sealedWith(text: string): string | undefined {
  return form.exec(text)?.[1]
}

function associated(keyId: string, destinationId: number): Buffer {
  return Buffer.from(`spillway:enc:v1:${keyId}:destination:${destinationId}`)
}
