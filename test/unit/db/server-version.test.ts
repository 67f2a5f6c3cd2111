import { describe, expect, test } from 'vitest'
import { serverProblem } from '../../../src/db/server-version.ts'

describe('a server', () => {
  test.each([
    ['14.0', 140_000],
    ['14.23 (Debian 14.23-1.pgdg12+1)', 140_023],
    ['18.4', 180_004],
    ['19beta1', 190_000],
  ])('of version %s will do', (version, number) => {
    expect(serverProblem({ version, number })).toBeUndefined()
  })

  test.each([
    ['13.23', 130_023],
    ['13.99', 139_999],
    ['9.6.24', 90_624],
  ])('of version %s is too old: it is named, with what is needed and what to do', (version, number) => {
    expect(serverProblem({ version, number })).toEqual({
      message: `PostgreSQL ${version} is too old: Spillway needs 14 or later`,
      hint: expect.stringMatching(/^Upgrade the server to PostgreSQL 14 or later/),
    })
  })
})
