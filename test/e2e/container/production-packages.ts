/**
 * What `npm ci --omit=dev --omit=optional` installs, read from the lockfile: folders such as
 * `node_modules/pino`. Optional packages count as production only where nothing optional is left out.
 */
import { readFileSync } from 'node:fs'

interface LockedPackage {
  readonly dev?: boolean
  readonly optional?: boolean
  /** Needed by a development dependency, and welcome to a production one. */
  readonly devOptional?: boolean
}

export function productionPackages(): readonly string[] {
  const lockfile = new URL('../../../package-lock.json', import.meta.url)
  const { packages } = JSON.parse(readFileSync(lockfile, 'utf8')) as {
    packages: Record<string, LockedPackage> // npm's own format, version 3
  }
  return Object.entries(packages)
    .filter(([folder, { dev, optional, devOptional }]) => folder !== '' && !dev && !optional && !devOptional)
    .map(([folder]) => folder)
}
