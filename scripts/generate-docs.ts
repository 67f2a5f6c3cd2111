/**
 * Writes what of the documents comes from the code: docs/LOGS.md from the catalogue of log events, docs/METRICS.md from
 * that of metrics, the table of the doctor's codes in docs/OPERATIONS.md, and in docs/PERFORMANCE.md and README.md the figures that
 * `npm run bench -- --store` has stored. With `--check` it writes nothing and exits 1 if a document is out of date.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type Results, toMarkdown } from '../bench/report.ts'
import { type Hazard, hazards } from '../src/cli/doctor/codes.ts'
import type { EventDefinition, Field } from '../src/telemetry/events/field.ts'
import { subjects } from '../src/telemetry/events.ts'
import { metricsPage, renderMetrics } from './metrics-page.ts'

export const logsPage = fileURLToPath(new URL('../docs/LOGS.md', import.meta.url))
const readme = fileURLToPath(new URL('../README.md', import.meta.url))
const performancePage = fileURLToPath(new URL('../docs/PERFORMANCE.md', import.meta.url))
export const operationsPage = fileURLToPath(new URL('../docs/OPERATIONS.md', import.meta.url))

const introduction = `<!-- Made by \`npm run docs\` from src/telemetry/events. Do not edit. -->
# Logs

Spillway writes one JSON object a line to stdout. \`event\` says what happened; the codes on this page are
stable, so alerts and dashboards can rely on them. \`msg\` is the same for people and may change its words.

\`\`\`json
{"level":"warn","time":"2026-01-05T09:30:00.000Z","service":"spillway","version":"0.1.0","pid":7,"event":"destination.unauthorized","destination_id":12,"name":"acme siem","type":"http","org":"acme","reason":"http_status","status":401,"message":"The receiver answered 401.","msg":"acme siem refuses the credentials."}
\`\`\`

Every line has \`level\` (\`debug\`, \`info\`, \`warn\`, \`error\`, \`fatal\`), \`time\`, \`service\`, \`version\`, \`pid\`,
\`event\` and \`msg\`. Names end in their unit: \`_ms\` are milliseconds, \`_at\` and \`_since\` instants in ISO 8601.
\`LOG_LEVEL\` sets the lowest level that is written, \`info\` by default.

- **\`warn\` asks for somebody's attention** at some time: something is not delivered, or will not be soon.
  Each event of this level or above has a section in the [runbook](RUNBOOK.md).
- **\`fatal\`** is the last line of a process that could not go on.
- **\`info\`** tells the story of a day without flooding it: deliveries are summed up per destination.
- **\`debug\`** has a line for each batch.

A failure that repeats is logged at once, then at most every 30 s with the number of lines that were kept
back (\`suppressed\`), and its end once with the number of failures. No line holds a credential; what looks
like one is replaced by \`[redacted]\`, and long values are cut.

## Reading them

\`\`\`sh
# Everything that asks for attention
spillway run | jq -c 'select(.level == "warn" or .level == "error" or .level == "fatal")'

# As sentences
spillway run | jq -r '"\\(.time) \\(.level) \\(.msg)"'

# One destination
jq -c 'select(.destination_id == 12)' spillway.log

# One customer: their destinations, and those that receive all orgs
jq -c 'select(has("org") and (.org == "acme" or .org == null))' spillway.log

# Why deliveries fail, the most frequent reason first
jq -r 'select(.event == "destination.failed") | "\\(.name): \\(.reason) \\(.status // "") \\(.message)"' spillway.log | sort | uniq -c | sort -rn

# Events delivered, by destination
jq -s 'map(select(.event == "destination.delivered")) | group_by(.name) | map({name: .[0].name, events: map(.events) | add})' spillway.log

# Everything that was not delivered, to replay it
jq -c 'select(.event == "backlog.abandoned" or .event == "events.skipped" or .event == "event.dead_lettered")' spillway.log

# Who holds the horizon back
jq -r 'select(.event == "horizon.stalled") | "\\(.log_type) \\(.holder) for \\(.stalled_for_ms / 1000) s"' spillway.log
\`\`\`

Worth an alert: \`daemon.failed\`, \`backlog.abandoned\`, \`backlog.held\`, \`events.skipped\`, \`destination.gone\`,
\`horizon.stalled\`, and \`destination.failed\` or \`database.unavailable\` when they go on for longer than you
can wait.
`

/** The page as it should be. */
export function renderLogs(): string {
  const overview = subjects.map(
    ({ title, events }) =>
      `### ${title}\n\n| event | level | meaning | what to do |\n|---|---|---|---|\n${Object.entries(events).map(row).join('\n')}\n`,
  )
  const details = subjects.flatMap(({ events }) => Object.entries(events).map(detail))
  return `${introduction}\n## Events\n\n${overview.join('\n')}\n## Fields\n\n${details.join('\n')}`
}

function row([code, { level, meaning, action }]: [string, EventDefinition]): string {
  return `| [\`${code}\`](#${anchor(code)}) | ${level} | ${cell(meaning)} | ${cell(action)} |`
}

function detail([code, { level, message, fields, metrics = [] }]: [string, EventDefinition]): string {
  const rows = Object.entries(fields).map(
    ([name, field]) => `| \`${name}\` | ${typeOf(field)} | ${cell(field.description)} |`,
  )
  const moved = metrics.map(({ name }) => `\`${name}\``)
  const counted = moved.length === 0 ? '' : `Moves ${moved.join(', ')} ([METRICS.md](METRICS.md)).\n\n`
  return `### \`${code}\`\n\n${level}: ${message}\n\n${counted}| field | type | what it is |\n|---|---|---|\n${rows.join('\n')}\n`
}

function typeOf({ kind, optional }: Field): string {
  const names: Record<Field['kind'], string> = {
    string: 'string',
    integer: 'integer',
    boolean: 'boolean',
    instant: 'instant',
    strings: 'list of strings',
    ranges: 'list of `{log_type, from_position, to_position, event_count}`',
    error: '`{name, message, code, hint, stack, cause}`',
  }
  return optional ? `${names[kind]}, if known` : names[kind]
}

const cell = (text: string): string => text.replaceAll('|', '\\|')
/** As GitHub derives it from the heading. */
const anchor = (code: string): string => code.replace(/[^a-z0-9_-]/g, '')

/** What stands between the marks on the page for operators. */
export function doctorSection(): string {
  const rows = Object.entries<Hazard>(hazards).map(
    ([code, { grades, meaning, remedy }]) =>
      `| \`${code}\` | ${grades.join(' or ')} | ${cell(meaning)} | ${cell(remedy)} |`,
  )
  return `| code | severity | meaning | remedy |\n|---|---|---|---|\n${rows.join('\n')}\n`
}

const end = '<!-- End of what is made. -->\n'

/** A page with what is made of it renewed: what stands between a mark that names the origin and the end mark. */
function renew(page: string, origin: string, made: string): string {
  const mark = `<!-- Made by \`npm run docs\` from ${origin}. Do not edit. -->\n`
  const from = page.indexOf(mark)
  const to = page.indexOf(end, from)
  if (from < 0 || to < 0) throw new Error(`A page has lost the marks around what is made from ${origin}.`)
  return `${page.slice(0, from)}${mark}${made}${page.slice(to)}`
}

export function renderOperations(page: string): string {
  return renew(page, 'src/cli/doctor/codes.ts', doctorSection())
}

/** Of the figures, what a reader wants to know first. */
const headlines = [
  'catch-up-1000',
  'catch-up-250',
  'latency p50',
  'latency-notify p50',
  'fleet-10000 memory',
  'fleet-10000 busy daemon',
  'backlog-million memory',
]

async function renderFigures(page: string, isShown: (row: string) => boolean): Promise<string> {
  const stored = await readFile(new URL('../bench/results/stored.json', import.meta.url), 'utf8')
  // Written by the benchmarks.
  const { figures, machine } = JSON.parse(stored) as Results
  const shown = figures.filter(({ row }) => isShown(row))
  return renew(page, 'bench/results/stored.json', toMarkdown({ figures: shown, machine }))
}

const renderPerformance = (page: string) => renderFigures(page, () => true)
const renderReadme = (page: string) => renderFigures(page, (row) => headlines.includes(row))

if (import.meta.main) {
  const check = process.argv.includes('--check')
  const pages = [
    { name: 'docs/LOGS.md', path: logsPage, render: renderLogs },
    { name: 'docs/METRICS.md', path: metricsPage, render: renderMetrics },
    { name: 'docs/OPERATIONS.md', path: operationsPage, render: renderOperations },
    { name: 'README.md', path: readme, render: renderReadme },
    { name: 'docs/PERFORMANCE.md', path: performancePage, render: renderPerformance },
  ]
  for (const { name, path, render } of pages) {
    const there = await readFile(path, 'utf8').catch(() => '')
    const wanted = await render(there)
    if (!check) await writeFile(path, wanted)
    else if (there !== wanted) {
      process.stderr.write(`${name} is out of date: run \`npm run docs\`.\n`)
      process.exitCode = 1
    }
  }
}
