/**
 * What may be written into a destination's secret fields, and how it is opened (I8):
 *
 *   "text"                    itself
 *   {"$secret": "NAME"}       the environment variable SPILLWAY_SECRET_NAME, and no other; NAME may have the prefix too
 *   "enc:v1:<key id>:…"       encrypted for this destination, see sealing.ts
 *
 * A problem names variables and key ids, and never what a field holds.
 */
import { isObject, isSealed, kindOf } from '../../providers/fields.ts'
import type { ConfigPath, DestinationType, SecretKind, Secrets } from '../../providers/provider.ts'
import { DestinationConfigError } from '../../providers/provider.ts'
import { type SecretKey, unseal } from './sealing.ts'

/** Gives each destination what opens its own secrets, and no other's. */
export interface Vault {
  of(destinationId: number): Secrets
}

export interface VaultOptions {
  readonly secretKeys: readonly SecretKey[]
  /** Of the variables `SPILLWAY_SECRET_<NAME>`, by `<NAME>`. */
  readonly secretVariables: ReadonlyMap<string, string>
}

const variablePrefix = 'SPILLWAY_SECRET_'

export function openVault({ secretKeys, secretVariables }: VaultOptions): Vault {
  return {
    of: (destinationId) => ({
      reveal(written) {
        if (typeof written === 'string' && isSealed(written))
          return unseal(written, destinationId, secretKeys)
        if (isObject(written) && Object.hasOwn(written, '$secret')) return refer(written, secretVariables)
        return { value: written }
      },
    }),
  }
}

type Revealed = ReturnType<Secrets['reveal']>

function refer(
  reference: Readonly<Record<string, unknown>>,
  variables: ReadonlyMap<string, string>,
): Revealed {
  const { $secret: named, ...others } = reference
  if (Object.keys(others).length > 0) {
    return { problem: 'has other members beside $secret; write {"$secret": "NAME"} and nothing else' }
  }
  if (typeof named !== 'string') {
    return { problem: `must name a variable in $secret, not ${kindOf(named)}; write {"$secret": "NAME"}` }
  }
  const name = named.startsWith(variablePrefix) ? named.slice(variablePrefix.length) : named
  // In capitals only: whoever writes the secret itself here must not find it in an error.
  if (!/^[A-Z][A-Z0-9_]{0,63}$/.test(name)) {
    return {
      problem: `must name a variable in $secret by capital letters, digits and _: {"$secret": "NAME"} is ${variablePrefix}NAME`,
    }
  }
  if (name === 'KEYS')
    return { problem: `must not name ${variablePrefix}KEYS, which holds Spillway's own keys` }
  const value = variables.get(name)
  if (value === undefined)
    return { problem: `needs the variable ${variablePrefix}${name}, which is not set or empty` }
  return { value }
}

/** The variables that a config may refer to. */
export function secretVariables(env: NodeJS.ProcessEnv): ReadonlyMap<string, string> {
  const variables = new Map<string, string>()
  for (const [field, value] of Object.entries(env)) {
    const name = field.startsWith(variablePrefix) ? field.slice(variablePrefix.length) : 'KEYS'
    if (name !== 'KEYS' && value) variables.set(name, value)
  }
  return variables
}

/** A secret field of a config, as it is written. */
export interface WrittenSecret {
  readonly at: ConfigPath
  readonly written: unknown
  readonly kind: SecretKind
}

/** The secret fields of a config, by what its type says; those of a config that is wrong as far as they can be found. */
export function findSecrets(type: DestinationType, config: unknown): readonly WrittenSecret[] {
  const found: WrittenSecret[] = []
  try {
    type.configure(config, {
      reveal(written, at, kind) {
        found.push({ at, written, kind })
        return { value: written }
      },
    })
  } catch (error) {
    if (!(error instanceof DestinationConfigError)) throw error
  }
  return found
}
