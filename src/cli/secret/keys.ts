/** The key that encrypts, for commands that cannot do without. */
import type { Config } from '../../config.ts'
import type { SecretKey } from '../../destinations/sealing.ts'
import { ConfigError } from '../../errors.ts'

/** Throws `ConfigError` where there is none. */
export function firstKey({ secretKeys }: Config): SecretKey {
  const [first] = secretKeys
  if (first !== undefined) return first
  const problem = 'is empty; write id:key, the key 32 bytes in base64 (openssl rand -base64 32)'
  throw new ConfigError([{ field: 'SPILLWAY_SECRET_KEYS', problem }])
}
