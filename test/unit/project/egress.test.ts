/**
 * The address guard is worth what the ways around it are: there must be none. Modules that serve no other
 * end are held by the rule `one-way-out` of .dependency-cruiser.cjs; here are those that also have innocent
 * uses, and what needs no import.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

/** What opens no connection. */
const innocent = new Set(['createServer', 'isIP', 'isIPv4', 'isIPv6', 'STATUS_CODES'])

/** A process of its own that asks the daemon on this machine for its health, whatever a row says. */
const exempt = new Set(['src/healthcheck.ts'])

const sources = ['src', 'providers']
  .flatMap((folder) => readdirSync(folder, { recursive: true }).map((path) => join(folder, String(path))))
  .filter((path) => path.endsWith('.ts') && !path.startsWith('src/egress/') && !exempt.has(path))

const network = `(?:node:)?(?:net|http|https|http2|tls|dgram|dns|dns/promises|inspector)`

/** Names that are imported as values from a module of the network; `*` for a whole one. */
function connectingImports(text: string): string[] {
  const found: string[] = []
  for (const [, type, what = ''] of text.matchAll(
    new RegExp(String.raw`import\s+(type\s+)?([^'"]*?)\s*from\s*['"]${network}['"]`, 'g'),
  )) {
    if (type !== undefined) continue
    const named = /\{([^}]*)\}/.exec(what)?.[1]
    const names = named?.split(',').map((name) => name.trim()) ?? ['*']
    found.push(
      ...names.filter(
        (name) => name !== '' && !name.startsWith('type ') && !innocent.has(name.split(' ')[0] ?? ''),
      ),
    )
  }
  const dynamic = new RegExp(String.raw`(?:import|require)\s*\(\s*['"]${network}['"]`)
  return dynamic.test(text) ? [...found, '*'] : found
}

/** Globals of Node that connect. */
const globals = /(?<![.\w'"`])(?:globalThis\.)?(?:fetch\s*\(|new\s+(?:WebSocket|EventSource)\b)/

test.each(sources)('%s opens no connection around the address guard', (path) => {
  const text = readFileSync(path, 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
  expect(connectingImports(text)).toEqual([])
  expect(globals.exec(text)?.[0]).toBeUndefined()
})

test.each([
  ["import { createServer, type Server } from 'node:http'", []],
  ["import type { LookupFunction } from 'node:net'", []],
  ["import { createServer, request } from 'node:http'", ['request']],
  ["import {\n  connect as dial,\n} from 'node:net'", ['connect as dial']],
  ["import net from 'net'", ['*']],
  ["import * as tls from 'node:tls'", ['*']],
  ["const { connect } = await import('node:tls')", ['*']],
])('the search finds what there is to find in %j', (text, expected) => {
  expect(connectingImports(text)).toEqual(expected)
})

test.each(['await fetch(url)', 'globalThis.fetch (url)', 'new WebSocket(url)'])('and in %j', (text) =>
  expect(text).toMatch(globals),
)
