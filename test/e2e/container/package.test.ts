import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase } from '../../support/postgres.ts'
import { walkthroughStatements } from './compose-walkthrough.ts'
import { productionPackages } from './production-packages.ts'
import { type RunningProgram, run, start } from './program.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
const path = `${dirname(process.execPath)}:${process.env.PATH}`

/** Holds what an installed package holds: `dist`, package.json and the production dependencies. */
let installed: string
const running: RunningProgram[] = []

beforeAll(async () => {
  installed = await mkdtemp(join(tmpdir(), 'spillway-package-'))
  const out = join(installed, 'dist')
  const built = await run(process.execPath, [join(root, 'scripts/build.ts'), '--out', out], { env: {} })
  expect(built).toMatchObject({ code: 0, stdout: '' })
  for (const each of ['package.json', 'LICENSE', ...productionPackages()]) {
    // Copied: through a link Node would find the development dependencies beside the real folder.
    await cp(join(root, each), join(installed, each), { recursive: true })
  }
})

afterAll(async () => {
  for (const { pid, exited } of running) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // Ended already.
    }
    await exited
  }
  await rm(installed, { recursive: true, force: true })
})

const spillway = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  run(process.execPath, ['dist/src/main.js', ...args], { cwd: installed, env })

function startInBackground(script: string, args: readonly string[], env: NodeJS.ProcessEnv): RunningProgram {
  const program = start(process.execPath, [script, ...args], { cwd: installed, env })
  running.push(program)
  return program
}

describe('the built package, with production dependencies only', () => {
  test('shows its help', async () => {
    const { code, stdout } = await spillway(['--help'])
    expect(code).toBe(0)
    expect(stdout).toContain('Usage: spillway')
  })

  test('runs by the name that npm links', async () => {
    const bin = join(installed, 'node_modules/.bin/spillway')
    await mkdir(dirname(bin), { recursive: true })
    await symlink(join(installed, manifest.bin.spillway), bin)
    expect(await run(bin, ['--version'], { cwd: tmpdir(), env: { PATH: path } })).toEqual({
      code: 0,
      stdout: `${manifest.version}\n`,
      stderr: '',
    })
  })

  test('packs what it needs at run time and nothing else', async () => {
    const { code, stdout } = await run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: installed,
      env: { PATH: path, HOME: process.env.HOME },
    })
    expect(code).toBe(0)
    const files: string[] = JSON.parse(stdout)[0].files.map((file: { path: string }) => file.path)
    expect(files).toEqual(
      expect.arrayContaining(['LICENSE', manifest.bin.spillway, 'dist/migrations/meta/_journal.json']),
    )
    const strays = files.filter(
      (file) => !/^(LICENSE|package\.json|dist\/.+\.(js|sql)|dist\/migrations\/meta\/.+\.json)$/.test(file),
    )
    expect(strays).toEqual([])
  })

  test('imports nothing but its own files, its dependencies and Node', async () => {
    const known = new Set(Object.keys(manifest.dependencies))
    const strange: string[] = []
    for (const [file, source] of await builtFiles()) {
      for (const [, name = ''] of source.matchAll(
        /(?:^import |^\} from |^import .* from |\bimport\()'([^'.][^']*)'/gm,
      )) {
        const bare = name.split('/', name.startsWith('@') ? 2 : 1).join('/')
        if (!name.startsWith('node:') && !known.has(bare)) strange.push(`${file}: ${name}`)
      }
      // A file that is named as text (a worker, a child) is not rewritten by the compiler.
      if (/['"`/]\S*\.ts['"`]/.test(source)) strange.push(`${file}: names a TypeScript file`)
    }
    expect(strange).toEqual([])
  })

  test('refuses to fall back to an embedded database in production', async () => {
    const { code, stderr } = await spillway(['run'], { NODE_ENV: 'production' })
    expect(code).toBe(2)
    expect(stderr).toContain('DATABASE_URL')
  })

  test('migrates an empty database with the migrations it carries', async () => {
    const database = await createTestDatabase({ empty: true })
    const env = { NODE_ENV: 'production', DATABASE_URL: database.url }
    expect(await spillway(['migrate', '--json'], env)).toMatchObject({ code: 0 })
    expect(JSON.parse((await spillway(['migrate', '--json'], env)).stdout).applied).toEqual([])
    await database.sql`SELECT FROM spillway.destinations`
  })

  test('does what compose.yaml promises, and stops when it is asked to', async () => {
    const database = await createTestDatabase()
    const echo = startInBackground(join(root, 'docs/compose/echo.mjs'), [], { PORT: '0', HOST: '127.0.0.1' })
    const port = await echo.said('its port', (text) => /port (\d+)/.exec(text)?.[1])
    const env = {
      NODE_ENV: 'production',
      DATABASE_URL: database.url,
      SPILLWAY_EGRESS_ALLOW: '127.0.0.1',
      SPILLWAY_HTTP_PORT: '0',
    }
    const daemon = startInBackground('dist/src/main.js', ['run'], env)
    const { http } = await daemon.logged('daemon.started')
    const listening = { ...env, SPILLWAY_HTTP_PORT: new URL(String(http)).port }

    const statements = walkthroughStatements()
    expect(statements).toHaveLength(3)
    for (const statement of statements) {
      await database.sql.unsafe(statement.replace('http://echo:8080', `http://127.0.0.1:${port}`))
    }
    const printed = await echo.said('the event', (text) => (text.includes('invoice.paid') ? text : undefined))
    expect(printed).toMatch(/^POST \/audit batch \S+$/m)

    expect(await healthcheck([], listening)).toBe(0)
    expect(await healthcheck(['/readyz'], listening)).toBe(0)
    expect(await healthcheck(['/no-such-path'], listening)).toBe(1)
    process.kill(daemon.pid, 'SIGTERM')
    await daemon.logged('daemon.stopped')
    expect(await daemon.exited).toBe(0)
    expect(await healthcheck([], listening)).toBe(1)
  })
})

async function healthcheck(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number | null> {
  const script = 'dist/src/healthcheck.js'
  return (await run(process.execPath, [script, ...args], { cwd: installed, env })).code
}

async function builtFiles(): Promise<[file: string, source: string][]> {
  const dist = join(installed, 'dist')
  const names = (await readdir(dist, { recursive: true })).filter((name) => name.endsWith('.js'))
  return Promise.all(
    names.map(async (name): Promise<[string, string]> => [name, await readFile(join(dist, name), 'utf8')]),
  )
}
