/**
 * What `destinations add` can say of a config before anything is sent: addresses in it, written out, that
 * this environment does not open. A hint and no error, because the daemon's environment may be another one.
 */
import type { AddressGuard } from '../../egress/address-guard.ts'

/** One sentence for each closed host. `config` is JSON. */
export function closedAddresses(config: unknown, guard: AddressGuard): string[] {
  const sentences = urlsIn(config).flatMap(({ hostname }) => guard.refusalOfLiteral(hostname)?.message ?? [])
  return [...new Set(sentences)]
}

function urlsIn(value: unknown): URL[] {
  if (typeof value === 'string') {
    return /^https?:/i.test(value) && URL.canParse(value) ? [new URL(value)] : []
  }
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(urlsIn) : []
}
