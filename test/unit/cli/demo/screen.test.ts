import { describe, expect, test } from 'vitest'
import { readLogLine } from '../../../../src/cli/demo/log-lines.ts'
import { type Moment, renderPlain, renderScreen } from '../../../../src/cli/demo/screen.ts'

const now = Date.UTC(2026, 0, 31, 12)
const moment: Moment = {
  phase: 'writing',
  elapsedMs: 3_400,
  limitMs: 15_000,
  now,
  rows: 1_200,
  rowsPerSecond: 300,
  open: 4,
  rolledBack: 31,
  destinations: [
    {
      name: 'acme webhook',
      org: 'acme',
      written: 400,
      delivered: 390,
      behind: 10,
      status: 'active',
      nextAttemptAt: null,
      last: { id: 'request:7', at: now - 2_500 },
    },
    {
      name: 'archive',
      org: null,
      written: 1_200,
      delivered: 700,
      behind: 500,
      status: 'backing_off',
      nextAttemptAt: new Date(now + 1_200),
      last: undefined,
    },
  ],
  naiveLost: 12,
  log: [{ text: '12:00:00 warn  It failed.', warning: true }],
}

describe('the screen of the demo', () => {
  test('shows each destination with its books, its status and its last event', () => {
    const text = renderScreen(moment, 120).map((line) => line.text)
    expect(text[0]).toBe('Spillway demo  3 s of 15 s')
    expect(text).toContain(
      'acme webhook  acme       400        390      10  active             request:7, 2 s ago',
    )
    expect(text).toContain('archive       (all)    1,200        700     500  backing_off 1.2 s')
    expect(text.join('\n')).toContain('would have lost 12')
    expect(text.at(-1)).toBe('12:00:00 warn  It failed.')
  })

  test.each([20, 60, 80])('fits into %d columns', (width) => {
    for (const { text } of renderScreen(moment, width)) expect(text.length).toBeLessThanOrEqual(width)
  })

  test('is one line where nothing can be drawn', () => {
    expect(renderPlain(moment)).toBe(
      '3 s of 15 s | 1,200 written | acme webhook 390 (10 behind) | ' +
        'archive 700 (500 behind, backing_off) | naive reader has lost 12',
    )
    expect(renderPlain({ ...moment, phase: 'draining' })).toMatch(/^draining /)
  })

  test('reads log lines as people do', () => {
    const json = '{"level":"warn","time":"2026-01-31T12:00:01.250Z","event":"x","msg":"It failed."}\n'
    expect(readLogLine(json)).toEqual({ text: '12:00:01 warn  It failed.', warning: true })
  })
})
