import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { logsPage, renderLogs } from '../../../scripts/generate-docs.ts'
import type { EventDefinition } from '../../../src/telemetry/events/field.ts'
import { events, subjects } from '../../../src/telemetry/events.ts'

const all: [string, EventDefinition][] = Object.entries(events)

describe.each(all)('the log event %s', (code, definition) => {
  test('has a code of the form subject.what', () => {
    expect(code).toMatch(/^[a-z]+\.[a-z]+(_[a-z]+)*$/)
  })

  test('is documented: sentences for meaning, action and message, words for each field', () => {
    for (const sentence of [definition.meaning, definition.action]) expect(sentence).toMatch(/^\S.*\S$/)
    for (const [name, { description }] of Object.entries(definition.fields)) {
      expect(name).toMatch(/^[a-z]+(_[a-z]+)*$/)
      expect(description).not.toBe('')
    }
  })

  test('has a message that is made of its own fields', () => {
    const used = [...definition.message.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
    expect(Object.keys(definition.fields)).toEqual(expect.arrayContaining(used))
  })

  test('has no field that the line needs for itself or that would be redacted', () => {
    for (const name of Object.keys(definition.fields)) {
      expect(['level', 'time', 'pid', 'service', 'version', 'event', 'msg']).not.toContain(name)
      expect(name).not.toMatch(/authorization|token|password|secret|api[-_]?key/i)
    }
  })

  test('belongs to one subject', () => {
    expect(subjects.filter((subject) => code in subject.events)).toHaveLength(1)
  })
})

test('docs/LOGS.md is what the catalogue says', async () => {
  expect(await readFile(logsPage, 'utf8')).toBe(renderLogs())
})
