/** The SQL that compose.yaml tells a newcomer to type, statement by statement, in order. */
import { readFileSync } from 'node:fs'

export function walkthroughStatements(): readonly string[] {
  const compose = readFileSync(new URL('../../../compose.yaml', import.meta.url), 'utf8')
  return [...compose.matchAll(/<<'SQL'\n([\s\S]*?)\n#\s+SQL\n/g)].map(([, block = '']) =>
    block.replaceAll(/^#\s+/gm, ''),
  )
}
