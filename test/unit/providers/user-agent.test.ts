import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { userAgent } from '../../../providers/user-agent.ts'

it('names the version that package.json names', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  expect(userAgent).toBe(`Spillway/${version}`)
})
