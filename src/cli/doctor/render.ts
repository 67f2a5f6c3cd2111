/** The findings for people: by subject, what is wrong first, each with its remedy. Pure. */
import { formatCountOf } from '../format.ts'
import { printable } from '../table.ts'
import type { Finding, Subject } from './finding.ts'

export interface Summary {
  readonly problems: number
  readonly warnings: number
  readonly ok: number
}

export function summaryOf(findings: readonly Finding[]): Summary {
  const count = (severity: Finding['severity']) =>
    findings.filter((each) => each.severity === severity).length
  return { problems: count('problem'), warnings: count('warning'), ok: count('ok') }
}

const marks = { problem: 'PROBLEM', warning: 'WARNING', ok: 'ok     ' }
const rank = { problem: 0, warning: 1, ok: 2 }
const indent = ' '.repeat(10)

/** `title` gives a subject's heading. */
export function renderFindings(findings: readonly Finding[], title: (subject: Subject) => string): string[] {
  const groups = Map.groupBy(findings, ({ subject }) => title(subject))
  const lines: string[] = []
  for (const [heading, group] of groups) {
    lines.push(printable(heading))
    for (const finding of group.toSorted((a, b) => rank[a.severity] - rank[b.severity])) {
      const code = finding.severity === 'ok' ? '' : `${finding.code}: `
      lines.push(`  ${marks[finding.severity]} ${code}${printable(finding.message)}`)
      if (finding.severity !== 'ok') lines.push(`${indent}→ ${printable(finding.remedy)}`)
    }
    lines.push('')
  }
  return [...lines, conclusion(summaryOf(findings))]
}

function conclusion({ problems, warnings }: Summary): string {
  if (problems + warnings === 0) return 'All is well.'
  const counts = [
    ...(problems > 0 ? [formatCountOf(problems, 'problem')] : []),
    ...(warnings > 0 ? [formatCountOf(warnings, 'warning')] : []),
  ].join(' and ')
  return problems > 0
    ? `${counts}: something is lost or stands still, or soon will.`
    : `${counts}: nothing is lost, and it will hurt.`
}
