/** What was written after an option, as values. What is wrong with it is collected, not thrown. */
import type { FieldProblem } from '../../providers/provider.ts'

/** `a, b` → `['a', 'b']`; nothing for nothing. */
export function parseList(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/**
 * The value of JSON text, or undefined and a problem. The problem never quotes the text, as the message of
 * `JSON.parse` does: it may hold a credential (I8).
 */
export function parseJson(text: string, field: string, problems: FieldProblem[]): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const [, position] = /at position (\d+)/.exec(String(error)) ?? []
    const where = position === undefined ? '' : ` (at character ${Number(position) + 1})`
    problems.push({
      field,
      problem: `is not JSON${where}; in a shell, put the whole of it in single quotes`,
    })
    return undefined
  }
}

/** An option that must be there and hold something; an unset shell variable leaves it empty. */
export function requireText(text: string | undefined, field: string, problems: FieldProblem[]): string {
  const trimmed = text?.trim() ?? ''
  if (trimmed === '') {
    problems.push({ field, problem: text === undefined ? 'is missing' : 'is empty' })
  }
  return trimmed
}
