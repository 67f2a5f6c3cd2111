import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { removeEmbedded } from '../../src/db/embedded/server.ts'
import { programEnv } from '../support/program.ts'

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
let parent: string
let cwd: string

beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'spillway-demo-'))
  cwd = join(parent, 'project')
  await mkdir(cwd)
})

afterAll(async () => {
  // A demo that has ended well has stopped its server; nothing may be in use any more.
  expect(await removeEmbedded(join(cwd, '.spillway'))).toBe(true)
  await rm(parent, { recursive: true, force: true })
})

/** PostgreSQL removes this file as the last thing of an orderly stop. */
async function expectNoServer(): Promise<void> {
  const pidFile = join(cwd, '.spillway', 'postgres', 'data', 'postmaster.pid')
  await expect(access(pidFile)).rejects.toMatchObject({ code: 'ENOENT' })
}

/** As a user starts it in a fresh directory. */
function start(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [main, ...args], { cwd, env: { ...programEnv, ...env } })
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]).then(
    ([stdout, stderr, [code]]) => ({ code, stdout, stderr }),
  )
  return { child, ended }
}

/** Whatever DATABASE_URL names must not be touched. */
function demo(...args: readonly string[]) {
  return start(['demo', ...args], { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/not_mine' })
}

describe('the demo', () => {
  test('ends by itself with everything delivered, and shows what a naive reader loses', async () => {
    const { code, stdout, stderr } = await demo('--seconds', '5').ended
    expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('A delivery to globex siem failed')
    expect(stdout).toContain('globex siem accepts events again')
    expect(stdout).toMatch(/written +delivered +lost/)
    const [, written, delivered, lost] = /total +([\d,]+) +([\d,]+) +([\d,]+)/.exec(stdout) ?? []
    expect(Number(written?.replaceAll(',', ''))).toBeGreaterThan(50)
    expect(delivered).toBe(written)
    expect(lost).toBe('0')
    expect(stdout).toMatch(/naive reader +[\d,]+ +[\d,]+ +[1-9][\d,]*\n/)
    await expectNoServer()
  })

  test('ends with its summary on Ctrl-C', async () => {
    const { child, ended } = demo()
    const interrupt = (chunk: Buffer) => {
      if (!/\| [1-9][\d,]* written \|/.test(chunk.toString())) return
      // A second signal would end it at once.
      child.stdout.off('data', interrupt)
      child.kill('SIGINT')
    }
    child.stdout.on('data', interrupt)
    const { code, stdout, stderr } = await ended
    expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/total +([1-9][\d,]*) +\1 +0\n/)
  })

  test('prints its summary alone as JSON', async () => {
    const { code, stdout, stderr } = await demo('--seconds', '1', '--json').ended
    expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
    const result = JSON.parse(stdout)
    expect(result).toMatchObject({ ok: true, naive: { written: result.rows } })
    expect(result.destinations).toHaveLength(3)
    for (const each of result.destinations) expect(each).toMatchObject({ lost: 0, ghosts: 0, foreign_org: 0 })
  })
})

describe('without DATABASE_URL', () => {
  test('commands start the embedded server and leave none behind', async () => {
    const unmigrated = await start(['destinations', 'list']).ended
    expect(unmigrated).toMatchObject({ code: 1, stdout: '' })
    expect(unmigrated.stderr).toContain('spillway migrate')
    expect(await start(['migrate']).ended).toMatchObject({ code: 0, stderr: '' })
    const listed = await start(['sources', 'list', '--json']).ended
    expect(listed).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(listed.stdout)).toHaveLength(4)
    await expectNoServer()
  })
})
