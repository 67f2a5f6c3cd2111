/** `spillway doctor`: what is fine, what will hurt and how to mend it. Changes nothing. */
import type { AddCommand } from '../command.ts'
import { CommandFailed, writeJson, writeLine } from '../command.ts'
import { type Diagnosis, diagnose } from './admit.ts'
import type { Subject } from './finding.ts'
import { renderFindings, summaryOf } from './render.ts'

const afterHelp = `
It connects as the daemon does, with the same settings, and changes nothing. A PROBLEM means that something is
lost or stands still, or soon will; a WARNING that it will hurt. Exit code 1 if there is a problem.
docs/OPERATIONS.md says what each code means.`

export const addDoctor: AddCommand = (program, { env, stdout }) => {
  program
    .command('doctor')
    .description('look for what will lose rows, stall or hurt, and say how to mend it')
    .option('--json', 'print JSON')
    .addHelpText('after', afterHelp)
    .action(async ({ json }: { json?: true }) => {
      const diagnosis = await diagnose(env)
      const { findings } = diagnosis
      const summary = summaryOf(findings)
      if (json) writeJson(stdout, { summary, findings })
      else for (const line of renderFindings(findings, titles(diagnosis))) writeLine(stdout, line)
      if (summary.problems > 0) throw new CommandFailed()
    })
}

function titles({ definitions, destinations }: Diagnosis): (subject: Subject) => string {
  const relations = new Map(definitions.map(({ logType, relation }) => [logType, relation]))
  const names = new Map(destinations.map(({ row }) => [String(row.id), row.name]))
  return ({ kind, name }) => {
    if (kind === 'server') return `The ${name}`
    return kind === 'source'
      ? `Source ${name} (${relations.get(name)})`
      : `Destination ${name} (${names.get(name)})`
  }
}
