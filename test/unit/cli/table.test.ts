import { describe, expect, test } from 'vitest'
import { cut, printable, renderTable } from '../../../src/cli/table.ts'

const columns = [
  { heading: 'ID', value: ({ id }: { id: number; text: string }) => String(id), align: 'right' as const },
  { heading: 'TEXT', value: ({ text }: { id: number; text: string }) => text, shrinks: true },
]

describe('a table', () => {
  test('pads its columns to the widest cell and leaves no space at the end', () => {
    const lines = renderTable(columns, [
      { id: 1, text: 'short' },
      { id: 1_000, text: 'a longer one' },
    ])
    expect(lines).toEqual(['  ID  TEXT', '   1  short', '1000  a longer one'])
  })

  test('has its heading when there are no rows', () => {
    expect(renderTable(columns, [])).toEqual(['ID  TEXT'])
  })

  test('cuts what may shrink to the width of the terminal', () => {
    const lines = renderTable(columns, [{ id: 7, text: 'x'.repeat(100) }], 20)
    expect(lines).toEqual(['ID  TEXT', ` 7  ${'x'.repeat(15)}…`])
  })

  test('never makes a line wider than the terminal, even where nothing can shrink that far', () => {
    const lines = renderTable(columns, [{ id: 7, text: 'x'.repeat(100) }], 10)
    expect(lines.map((line) => line.length)).toEqual([8, 10])
  })

  test('lets no name steer the terminal', () => {
    const [, line] = renderTable(columns, [{ id: 7, text: 'a\u001b[2Jb\nc' }])
    expect(line).toBe(' 7  a [2Jb c')
    expect(printable('tab\there')).toBe('tab here')
  })

  test('cuts no character in two', () => {
    expect(cut('🚰🚰🚰', 2)).toBe('🚰…')
    expect(cut('🚰🚰🚰', 3)).toBe('🚰🚰🚰')
  })
})
