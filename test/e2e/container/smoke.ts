/**
 * `npm run test:image -- TOOL IMAGE`: looks at a built image and runs it against a real PostgreSQL. TOOL
 * runs a command in a fresh container that shares the host's network and process ids:
 *
 *   TOOL --run IMAGE [-e KEY=VALUE]… -- COMMAND…
 *
 * ENTRYPOINT, CMD and HEALTHCHECK are taken from the Dockerfile. The first thing that is not as it should
 * be ends the run with exit code 1.
 */
import assert from 'node:assert/strict'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import { startEmbedded } from '../../../src/db/embedded/server.ts'
import { removeTestDirectory, testRoot } from '../../support/global-setup.ts'
import { late, startReceiver } from '../../support/receiver.ts'
import { execForm } from './dockerfile.ts'
import { productionPackages } from './production-packages.ts'
import { type Ended, type RunningProgram, run, start } from './program.ts'

const [tool, image] = process.argv.slice(2)
if (tool === undefined || image === undefined) {
  process.stderr.write('Usage: npm run test:image -- TOOL IMAGE\n')
  process.exit(2)
}

type Environment = Readonly<Record<string, string>>

const entrypoint = execForm('ENTRYPOINT')
const command = execForm('CMD')
const healthcheck = execForm('HEALTHCHECK')

/** How long the daemon's request is under way when it is told to stop. */
const ANSWER_AFTER_MS = 1_000

const containerArgs = (args: readonly string[], env: Environment): readonly string[] => [
  '--run',
  image,
  ...Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`]),
  '--',
  ...args,
]
const inContainer = (args: readonly string[], env: Environment = {}): Promise<Ended> =>
  run(tool, containerArgs(args, env), { env: process.env })

async function evaluate(expression: string): Promise<unknown> {
  const { code, stdout, stderr } = await inContainer(['node', '--print', `JSON.stringify(${expression})`])
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout)
}

await check('the user is not root and cannot change the program', async () => {
  const found = await evaluate(`(() => {
    const writable = (path) => { try { fs.accessSync(path, fs.constants.W_OK); return true } catch { return false } }
    return { uid: process.getuid(), writable: ['/app', '/app/dist', '/app/node_modules'].filter(writable) }
  })()`)
  assert.deepEqual(found, { uid: 1000, writable: [] })
})

await check('there are the production dependencies and no others', async () => {
  const found = await evaluate(`fs.readdirSync('node_modules', { recursive: true })
    .filter((path) => /(^|\\/node_modules\\/)(@[^/]+\\/)?[^@/.][^/]*$/.test(path))
    .filter((path) => fs.existsSync('node_modules/' + path + '/package.json'))
    .map((path) => 'node_modules/' + path).sort()`)
  assert.deepEqual(found, productionPackages().toSorted())
})

await check('it shows its help', async () => {
  const { code, stdout } = await inContainer([...entrypoint, '--help'])
  assert.equal(code, 0)
  assert.match(stdout, /Usage: spillway/)
})

await check('without a database it says what is missing', async () => {
  const { code, stderr } = await inContainer([...entrypoint, ...command])
  assert.equal(code, 2, stderr)
  assert.match(stderr, /DATABASE_URL/)
})

// The tests' own set-up removes what is left in such a folder by a process that was killed.
const directory = join(testRoot, `test-${process.pid}`)
await mkdir(testRoot, { recursive: true })
const server = await startEmbedded({ directory, durable: false })
try {
  await server.createDatabase('image')
  await against(server.url('image'))
} finally {
  await server.stop('immediate')
  await removeTestDirectory(directory)
}

async function against(databaseUrl: string): Promise<void> {
  const env = { DATABASE_URL: databaseUrl, SPILLWAY_EGRESS_ALLOW: '127.0.0.1', SPILLWAY_HTTP_PORT: '0' }
  await check('it migrates an empty database', async () => {
    const { code, stdout, stderr } = await inContainer([...entrypoint, 'migrate', '--json'], env)
    assert.equal(code, 0, stderr)
    assert.notDeepEqual(JSON.parse(stdout).applied, [])
  })

  const daemon = start(tool as string, containerArgs([...entrypoint, ...command], env), { env: process.env })
  const sql = postgres(databaseUrl, { max: 1 })
  const receiver = await startReceiver()
  let pid: number | undefined
  try {
    const { http } = await daemon.logged('daemon.started')
    pid = await containedPid(daemon)
    const port = new URL(String(http)).port

    await check('its HEALTHCHECK, /livez and /readyz say that it is well', async () => {
      for (const path of ['/livez', '/readyz']) {
        assert.equal((await fetch(`http://127.0.0.1:${port}${path}`)).status, 200, path)
      }
      const { code, stderr } = await inContainer(healthcheck, { ...env, SPILLWAY_HTTP_PORT: port })
      assert.equal(code, 0, stderr)
    })

    await check('on SIGTERM it lets what is on its way arrive, and exits with 0', async () => {
      receiver.always(late(ANSWER_AFTER_MS))
      const config = sql.json({ url: receiver.url })
      await sql`INSERT INTO spillway.destinations (name, type, config, log_types)
                VALUES ('image', 'http', ${config}, '{action}')`
      const [row] =
        await sql`INSERT INTO spillway.action_audit_log (org_id, action) VALUES ('acme', 'test') RETURNING id`
      await receiver.received(1)
      process.kill(pid as number, 'SIGTERM')
      await daemon.logged('daemon.stopped')
      assert.equal(await daemon.exited, 0, daemon.stderr)
      const [cursor] = await sql`SELECT position FROM spillway.cursors`
      assert.equal(cursor?.position, row?.id)
    })

    await check('its HEALTHCHECK fails when it is gone', async () => {
      assert.equal((await inContainer(healthcheck, { ...env, SPILLWAY_HTTP_PORT: port })).code, 1)
    })
  } finally {
    if (pid !== undefined && isAlive(pid)) process.kill(pid, 'SIGKILL')
    await receiver.close()
    await sql.end()
  }
}

/** The daemon's process as the host sees it; throws when it is not one that the tool started. */
async function containedPid(daemon: RunningProgram): Promise<number> {
  const { pid } = await daemon.logged('daemon.started')
  for (let ancestor = Number(pid); ancestor > 1; ancestor = await parentOf(ancestor)) {
    if (ancestor === daemon.pid) return Number(pid)
  }
  throw new Error(`Process ${pid} was not started here: the tool gives containers process ids of their own.`)
}

async function parentOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^PPid:\s*(\d+)$/m.exec(status)?.[1])
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function check(what: string, look: () => Promise<void>): Promise<void> {
  const began = performance.now()
  try {
    await look()
  } catch (error) {
    process.stdout.write(`FAILED  ${what}\n`)
    throw error
  }
  process.stdout.write(`ok      ${what} (${Math.round(performance.now() - began)} ms)\n`)
}
