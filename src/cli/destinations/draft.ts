/** The options of `destinations add` → a row that the daemon would take, or all that is wrong with them. */
import { DestinationConfigError, type FieldProblem } from '../../../providers/provider.ts'
import {
  type DestinationRow,
  type DestinationRules,
  parseDestination,
} from '../../destinations/destination.ts'
import { ConfigError } from '../../errors.ts'
import { parseJson, parseList, requireText } from '../options.ts'

export interface DraftOptions {
  readonly name?: string
  readonly type?: string
  readonly logTypes?: string
  readonly org?: string
  readonly allOrgs?: true
  /** The text of `--config`, or of what `--config-file` names. */
  readonly config?: string
  readonly startFrom?: string
  readonly delivery?: string
  readonly disabled?: true
}

export type Draft = Omit<DestinationRow, 'id' | 'createdAt' | 'revision'>

/** Throws `ConfigError` with every bad field. */
export function parseDraft(options: DraftOptions, rules: DestinationRules): Draft {
  const problems: FieldProblem[] = []
  const draft: Draft = {
    orgId: readOrg(options, problems),
    name: requireText(options.name, '--name', problems),
    type: requireText(options.type, '--type', problems),
    config: parseJson(options.config ?? '{}', 'config', problems),
    logTypes: parseList(options.logTypes),
    enabled: options.disabled !== true,
    startFrom: options.startFrom ?? 'now',
    filter: null,
    redaction: null,
    delivery: parseJson(options.delivery ?? '{}', 'delivery', problems),
  }
  // What is not there or no JSON has had its say; the fields in it cannot be judged.
  const said = new Set(problems.map(({ field }) => field.replace('--', '')))
  const more = judge(draft, rules).filter(({ field }) => !said.has(field.split('.')[0] ?? ''))
  if (problems.length + more.length > 0) throw new ConfigError([...problems, ...more])
  return draft
}

/** An org is chosen or all of them are; nothing left out, and no empty variable, widens it (I7). */
function readOrg({ org, allOrgs }: DraftOptions, problems: FieldProblem[]): string | null {
  const field = '--org'
  if (org !== undefined && allOrgs) problems.push({ field, problem: 'contradicts --all-orgs; give one' })
  else if (org === undefined && !allOrgs) {
    const problem = "is missing; name the org whose events it gets, or --all-orgs for the operator's own"
    problems.push({ field, problem })
  } else if (org?.trim() === '') {
    problems.push({ field, problem: 'is empty; for the events of all orgs say --all-orgs' })
  }
  return org ?? null
}

function judge(draft: Draft, rules: DestinationRules): readonly FieldProblem[] {
  try {
    parseDestination({ ...draft, id: 0, createdAt: 0, revision: '' }, rules)
    return []
  } catch (error) {
    if (error instanceof DestinationConfigError) return error.fields
    throw error
  }
}
