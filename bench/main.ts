/**
 * `npm run bench [-- row …] [--json] [--store] [--cpu-prof <directory>]`: measures, compares ratios with the stored ones,
 * prints a table and tells by its exit code whether every goal is met and no ratio much worse (0), or not (1); 2 is
 * bad usage. A run of everything is written to bench/results/latest.json, and with `--store` to
 * bench/results/stored.json, for later runs to be compared with. See docs/PERFORMANCE.md.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { terminalWidth } from '../src/cli/table.ts'
import { version } from '../src/version.ts'
import type { Benchmark, Figure } from './benchmark.ts'
import { benchmarks } from './benchmarks.ts'
import { describeMachine } from './machine.ts'
import { findRegressions, type StoredFigure } from './regression.ts'
import { type Failure, isGood, type Results, toJson, toTable } from './report.ts'
import { openStage } from './stage/stage.ts'

const latest = new URL('./results/latest.json', import.meta.url)
const stored = new URL('./results/stored.json', import.meta.url)

process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  const request = parseRequest(args)
  if ('problem' in request) {
    process.stderr.write(`${request.problem}\n${usage()}`)
    return 2
  }
  const results = await measure(request)
  if (request.chosen.length === benchmarks.length) {
    for (const file of request.store ? [latest, stored] : [latest]) await writeFile(file, toJson(results))
  }
  process.stdout.write(request.json ? toJson(results) : toTable(results, terminalWidth(process.stdout)))
  return isGood(results) ? 0 : 1
}

interface Request {
  readonly chosen: readonly Benchmark[]
  readonly json: boolean
  readonly store: boolean
  readonly profiles: string | undefined
}

function parseRequest(args: readonly string[]): Request | { readonly problem: string } {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        json: { type: 'boolean', default: false },
        store: { type: 'boolean', default: false },
        'cpu-prof': { type: 'string' },
      },
      allowPositionals: true,
    })
    const unknown = positionals.filter((name) => !benchmarks.some((benchmark) => benchmark.name === name))
    if (unknown.length > 0) return { problem: `There is no benchmark ${unknown.join(', ')}.` }
    const chosen = benchmarks.filter(({ name }) => positionals.length === 0 || positionals.includes(name))
    if (values.store && chosen.length < benchmarks.length)
      return { problem: '--store is for a run of everything.' }
    return { chosen, json: values.json, store: values.store, profiles: values['cpu-prof'] }
  } catch (error) {
    return { problem: messageOf(error) }
  }
}

function usage(): string {
  const list = benchmarks.map(({ name, what }) => `  ${name.padEnd(19)}${what}\n`).join('')
  return `npm run bench [-- row …] [--json] [--store] [--cpu-prof <directory>]\n${list}`
}

async function measure({ chosen, profiles }: Request): Promise<Results> {
  const report = (text: string) => void process.stderr.write(`${text}\n`)
  report('preparing: PostgreSQL')
  await using stage = await openStage({ ...(profiles !== undefined && { profiles }) })
  const machine = describeMachine(stage.postgresVersion)
  const takenAt = new Date().toISOString()
  const figures: Figure[] = []
  const failures: Failure[] = []
  for (const benchmark of chosen) {
    try {
      figures.push(...(await benchmark.run(stage, report)))
    } catch (error) {
      failures.push({ benchmark: benchmark.name, message: messageOf(error) })
    }
  }
  const regressions = findRegressions(figures, await storedFigures())
  return { takenAt, spillway: version, machine, figures, failures, regressions }
}

async function storedFigures(): Promise<readonly StoredFigure[]> {
  const text = await readFile(stored, 'utf8').catch(() => undefined)
  // Nothing is stored yet.
  if (text === undefined) return []
  const { figures } = JSON.parse(text) as Results // written by `--store`
  return figures
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
