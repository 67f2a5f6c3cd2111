import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { doctorSection, operationsPage } from '../../../scripts/generate-docs.ts'
import { refusal } from '../../../src/cli/doctor/checks/source.ts'
import { hazards } from '../../../src/cli/doctor/codes.ts'
import { SourceError } from '../../../src/errors.ts'

const integration = fileURLToPath(new URL('../../integration/cli/', import.meta.url))

test('each hazard of the doctor is produced by a test', () => {
  const tests = [
    ...readdirSync(integration)
      .filter((name) => name.startsWith('doctor'))
      .map((name) => readFileSync(`${integration}${name}`, 'utf8')),
    readFileSync(fileURLToPath(import.meta.url), 'utf8'),
  ].join('\n')
  const missing = Object.keys(hazards).filter((code) => !tests.includes(code))
  expect(missing).toEqual([])
})

test('what refuses a source for a reason that the doctor does not know is a problem all the same', () => {
  const error = new SourceError('source test: the moon is full', 'Wait.')
  expect(refusal(error, { kind: 'source', name: 'test' })).toEqual({
    severity: 'problem',
    code: 'source.refused',
    subject: { kind: 'source', name: 'test' },
    message: 'the moon is full',
    remedy: 'Wait.',
  })
})

test('the page for operators has every code', () => {
  const page = readFileSync(operationsPage, 'utf8')
  for (const code of Object.keys(hazards)) expect(page).toContain(`| \`${code}\` |`)
  expect(page).toContain(doctorSection())
})
