import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { blocksOf } from '../../support/recipes/page.ts'

const pages = readdirSync('docs/recipes').filter((name) => name !== 'README.md')
const tests = readdirSync('test/e2e/recipes').map((name) => readFileSync(`test/e2e/recipes/${name}`, 'utf8'))

describe.each(pages)('the recipe %s', (page) => {
  const text = readFileSync(`docs/recipes/${page}`, 'utf8')

  test('is in the index', () => {
    expect(readFileSync('docs/recipes/README.md', 'utf8')).toContain(`](${page})`)
  })

  test('is followed by a test', () => {
    expect(tests.filter((each) => each.includes(`path: 'recipes/${page}'`))).toHaveLength(1)
  })

  // What the test does not see would not be run: an indented block, another spelling of the language.
  test('has no block of SQL or commands that the test passes over', () => {
    const fences = text.match(/^\s*```\s*(sql|sh|bash|shell|console|psql|pgsql)\b/gim) ?? []
    expect(blocksOf(text)).toHaveLength(fences.length)
    expect(blocksOf(text).filter((block) => block.text.trim() === 'spillway run')).toHaveLength(1)
  })
})
