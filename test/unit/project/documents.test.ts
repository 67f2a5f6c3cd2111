/** What the documents for operators promise of themselves: a section for each event that asks for somebody, and links that lead somewhere. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { EventDefinition } from '../../../src/telemetry/events/field.ts'
import { events } from '../../../src/telemetry/events.ts'

describe('the runbook', () => {
  const text = readFileSync('docs/RUNBOOK.md', 'utf8')
  const sections = text.split(/^## /m).slice(1)
  const codes = sections.map((section) => section.slice(0, section.indexOf('\n')))
  const asking = Object.entries<EventDefinition>(events)
    .filter(([, { level }]) => ['warn', 'error', 'fatal'].includes(level))
    .map(([code]) => code)

  test('has one section for each event of level warn or above, and no other', () => {
    expect(codes.toSorted()).toEqual(asking.toSorted())
  })

  test('has each of them in its table', () => {
    const [table = ''] = text.split(/^## /m)
    const linked = [...table.matchAll(/\[([a-z_]+\.[a-z_]+)\]\(#/g)].map(([, code]) => code)
    expect(linked.toSorted()).toEqual(codes.toSorted())
  })

  test.each(sections.map((section, index) => [codes[index], section] as const))(
    '%s: answers its five questions',
    (_, section) => {
      const questions = [...section.matchAll(/^\*\*(\w+)\.\*\*/gm)].map(([, question]) => question)
      expect(questions).toEqual(['Evidence', 'Causes', 'Look', 'Do', 'Over'])
    },
  )
})

describe('links', () => {
  const pages = readdirSync('docs', { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => join('docs', path))

  test.each(pages)('%s: lead to a page and a heading that there are', (page) => {
    const text = readFileSync(page, 'utf8').replace(/^```[\s\S]*?^```$/gm, '')
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target)
    const broken = targets.filter((target) => !/^[a-z]+:/.test(target) && !leadsSomewhere(page, target))
    expect(broken).toEqual([])
  })
})

function leadsSomewhere(page: string, target: string): boolean {
  const [path = '', heading] = target.split('#')
  const there = path === '' ? page : normalize(join(dirname(page), path))
  if (!existsSync(there)) return false
  return heading === undefined || anchorsOf(there).has(heading)
}

/** As GitHub makes them. */
function anchorsOf(page: string): ReadonlySet<string> {
  const text = readFileSync(page, 'utf8').replace(/^```[\s\S]*?^```$/gm, '')
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading)
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  )
}
