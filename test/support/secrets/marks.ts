/**
 * Marked secrets, and the search for what is left of them in a text. A mark is found in plain and in every form
 * that a program makes of it by the way: base64 at any alignment (a part of a Basic header), base64url, hex, in
 * URLs and forms; and in pieces, as a message that is cut off would have it.
 */
import { randomBytes } from 'node:crypto'

export class Marks {
  readonly #secrets = new Map<string, string>()

  /** A credential of its own for each name, the same at each call. */
  text(name: string): string {
    return this.keep(name, `mk${randomBytes(18).toString('hex')}`)
  }

  /** One that is made elsewhere, such as a private key; remembered under its name. */
  keep(name: string, secret: string): string {
    const known = this.#secrets.get(name)
    if (known !== undefined) return known
    this.#secrets.set(name, secret)
    return secret
  }

  get names(): string[] {
    return [...this.#secrets.keys()]
  }

  /** The names of those that can be found in `text`. */
  in(text: string): string[] {
    return [...this.#secrets].flatMap(([name, secret]) =>
      pieces(secret).some((piece) => text.includes(piece)) ? [name] : [],
    )
  }
}

/** A leak of twice this length holds a whole piece, wherever it begins. */
const pieceLength = 12

function pieces(secret: string): string[] {
  return formsOf(secret).flatMap((form) => {
    const found: string[] = []
    for (let at = 0; at + pieceLength <= form.length; at += pieceLength) {
      found.push(form.slice(at, at + pieceLength))
    }
    return found
  })
}

function formsOf(secret: string): string[] {
  // The lines of PEM around the key are the same in all of them.
  const pem = /-----BEGIN[^-]+-----([\s\S]+)-----END/.exec(secret)?.[1]?.split('\n') ?? []
  const keyBytes = secret.startsWith('whsec_') ? [Buffer.from(secret.slice(6), 'base64')] : []
  const texts = pem.length > 0 ? pem.filter((line) => line !== '').slice(1) : [secret.replace('whsec_', '')]
  const bytes = [...texts.map((text) => Buffer.from(text)), ...keyBytes]
  return [
    ...texts,
    ...texts.map(encodeURIComponent),
    ...bytes.flatMap((each) => [each.toString('hex'), ...base64At(each)]),
  ]
}

/** The middle of what base64 makes of it after 0, 1 and 2 bytes of something else. */
function base64At(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const encoded = Buffer.concat([Buffer.alloc(before), bytes])
      .toString('base64')
      .replace(/=+$/, '')
    const own = encoded.slice(4, -4)
    return [own, own.replaceAll('+', '-').replaceAll('/', '_')]
  })
}
