import { globSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { version } from '../../../src/version.ts'
import { dockerfile, finalStage } from '../../e2e/container/dockerfile.ts'

const manifest = JSON.parse(readFileSync('package.json', 'utf8'))
const lockfile = readFileSync('package-lock.json', 'utf8')

describe('the package', () => {
  test('has one version everywhere', () => {
    expect(version).toBe(manifest.version)
    expect(JSON.parse(lockfile).version).toBe(version)
    expect(/image\.version="(.+?)"/.exec(finalStage)?.[1]).toBe(version)
  })

  test('has the commands that the documents name', () => {
    expect(Object.keys(manifest.scripts)).toEqual(
      expect.arrayContaining(['check', 'test', 'build', 'start', 'demo', 'bench']),
    )
  })

  test('is developed and shipped on the same major version of Node, which its engines allow', () => {
    const major = /\d+/.exec(manifest.devDependencies.node)?.[0]
    expect(/\d+/.exec(manifest.devDependencies['@types/node'])?.[0]).toBe(major)
    const bases = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image)
    expect(new Set(bases)).toEqual(new Set([`node:${major}-bookworm-slim`]))
    // Since 22.18 Node runs TypeScript without a flag.
    const [, lowest, minor] = /^>=(\d+)\.(\d+)$/.exec(manifest.engines.node) ?? []
    expect(Number(lowest)).toBeLessThanOrEqual(Number(major))
    expect(Number(lowest) + Number(minor) / 1_000).toBeGreaterThanOrEqual(22.018)
  })

  test('carries its licence', () => {
    expect(manifest.license).toBe('Apache-2.0')
    expect(readFileSync('LICENSE', 'utf8')).toMatch(/Apache License\s+Version 2\.0, January 2004/)
  })

  test('keeps the addresses of registries out of the lockfile', () => {
    expect(lockfile).not.toMatch(/"resolved"|https?:\/\/[^"]*\.tgz/)
  })
})

test('no source file has more than 400 lines', () => {
  const files = globSync('{src,providers,test,bench,scripts}/**/*.ts')
  expect(files.length).toBeGreaterThan(100)
  const linesOf = (file: string) => readFileSync(file, 'utf8').trimEnd().split('\n').length
  expect(files.filter((file) => linesOf(file) > 400)).toEqual([])
})
