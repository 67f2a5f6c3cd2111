import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

interface Entry {
  readonly idx: number
  readonly when: number
  readonly tag: string
}

const entries: readonly Entry[] = JSON.parse(readFileSync('migrations/meta/_journal.json', 'utf8')).entries

// drizzle compares with the newest applied stamp only: a migration with an older one, merged later, would
// be passed over without a word.
test('every migration has a later stamp and a higher number than the one before', () => {
  for (const [index, { idx, when, tag }] of entries.entries()) {
    expect(idx).toBe(index)
    expect(tag).toMatch(new RegExp(`^${String(index).padStart(4, '0')}_[a-z_]+$`))
    expect(when).toBeGreaterThan(entries[index - 1]?.when ?? 0)
  }
})

test('the journal lists the SQL files, all of them', () => {
  const files = readdirSync('migrations').filter((name) => name.endsWith('.sql'))
  expect(files.toSorted()).toEqual(entries.map(({ tag }) => `${tag}.sql`))
})

// Cutting at drizzle's marker is what makes a migration several statements.
test('no migration is empty or has an empty statement', () => {
  for (const { tag } of entries) {
    const statements = readFileSync(`migrations/${tag}.sql`, 'utf8').split('--> statement-breakpoint')
    for (const statement of statements) expect(statement.replaceAll(/^\s*--.*$/gm, '').trim()).not.toBe('')
  }
})

// Replicas of the version before run on while a new one rolls out, on the new schema (docs/operations/deploying.md).
test('no migration takes away or renames what a replica of the version before uses', () => {
  const taking =
    /\bDROP (TABLE|COLUMN|FUNCTION|TRIGGER)\b|\bRENAME\b|\bSET NOT NULL\b|\bALTER COLUMN \S+ (SET DATA )?TYPE\b/i
  // What it drops was a function of the migration before, and neither was ever released.
  const former = new Set(['0002_orderings'])
  const found = entries
    .filter(({ tag }) => !former.has(tag))
    .filter(({ tag }) =>
      taking.test(readFileSync(`migrations/${tag}.sql`, 'utf8').replaceAll(/^\s*--.*$/gm, '')),
    )
  expect(found).toEqual([])
})
