/**
 * `npm test`: sees to the programs that tests need, then runs vitest with the arguments given here.
 *
 * On Debian and its kin, as root, what is missing is installed. Elsewhere the tests that need it are left
 * out, which is said loudly, and with CI=true leaving anything out is a failure.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

interface SystemPackage {
  /** Name of the Debian package. */
  readonly name: string
  /** A command it provides; the package counts as there when the command is. */
  readonly command: string
  readonly neededBy: string
}

const systemPackages: readonly SystemPackage[] = [
  { name: 'pgbouncer', command: 'pgbouncer', neededBy: 'the tests behind a pooler' },
  { name: 'prometheus', command: 'promtool', neededBy: 'the checks of metrics and alert rules' },
]

/** Where Debian has daemons; missing from the PATH of ordinary users. */
process.env.PATH = `${process.env.PATH ?? ''}${delimiter}/usr/sbin`

function isThere({ command }: SystemPackage): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function install(packages: readonly SystemPackage[]): void {
  const isDebianRoot = existsSync('/etc/debian_version') && process.getuid?.() === 0
  if (packages.length === 0 || !isDebianRoot) return
  const names = packages.map(({ name }) => name)
  process.stdout.write(`Installing ${names.join(', ')} for the tests\n`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  spawnSync('apt-get', ['update', '-qq'], { stdio: 'inherit', env })
  spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...names], {
    stdio: 'inherit',
    env,
  })
}

install(systemPackages.filter((each) => !isThere(each)))
const missing = systemPackages.filter((each) => !isThere(each))
for (const { name, command, neededBy } of missing) {
  process.stderr.write(`\n*** LEFT OUT: ${neededBy}. ${command} is not there (Debian package: ${name}).\n\n`)
}

if (missing.length > 0 && process.env.CI === 'true') {
  process.stderr.write('CI=true: tests must not be left out.\n')
  process.exitCode = 1
} else {
  const vitest = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url))
  const run = spawnSync(process.execPath, [vitest, 'run', ...process.argv.slice(2)], {
    stdio: 'inherit',
    // The tests that need them look here and skip themselves.
    env: { ...process.env, SPILLWAY_TEST_MISSING: missing.map(({ command }) => command).join(',') },
  })
  process.exitCode = run.status ?? 1
}
