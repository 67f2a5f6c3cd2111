import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { removeEmbedded } from '../../src/db/embedded/server.ts'

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

/** As a newcomer starts it. Whatever DATABASE_URL names must not be touched. */
function demo(...args: readonly string[]) {
  const env = { PATH: process.env.PATH, DATABASE_URL: 'postgres://nobody@127.0.0.1:1/not_mine' }
  const child = spawn(process.execPath, [main, 'demo', ...args], { cwd, env })
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]).then(
    ([stdout, stderr, [code]]) => ({ code, stdout, stderr }),
  )
  return { child, ended }
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
  })

  test('ends with its summary on Ctrl-C, and says the same in JSON', async () => {
    const { child, ended } = demo('--json')
    // The daemon's HTTP side is up when the database is; rows are being written soon after.
    const started = setTimeout(() => child.kill('SIGINT'), 8_000)
    const { code, stdout, stderr } = await ended
    clearTimeout(started)
    expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
    const result = JSON.parse(stdout)
    expect(result).toMatchObject({ ok: true, naive: { written: result.rows } })
    expect(result.destinations).toHaveLength(3)
    for (const each of result.destinations) expect(each).toMatchObject({ lost: 0, ghosts: 0, foreign_org: 0 })
  })
})
