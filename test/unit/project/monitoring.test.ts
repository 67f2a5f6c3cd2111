/** The alert rules and the dashboard that we hand out. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'
import type { EventDefinition } from '../../../src/telemetry/events/field.ts'
import { events } from '../../../src/telemetry/events.ts'
import { metricSubjects } from '../../../src/telemetry/metrics/catalogue.ts'
import {
  destinationMetric,
  destinationMetricName,
  type MetricDefinition,
} from '../../../src/telemetry/metrics/definition.ts'
import { promtool, promtoolIsMissing } from '../../support/promtool.ts'

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly labels: { readonly severity: string }
  readonly annotations: Readonly<Record<string, string>>
}
interface Case {
  readonly name: string
  readonly promql_expr_test?: readonly { readonly exp_samples: readonly unknown[] }[]
}
interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly datasource?: { readonly uid: string }
  readonly targets?: readonly { readonly expr: string }[]
}

const read = (name: string) => readFileSync(`docs/${name}`, 'utf8')
const rules: Rule[] = parse(read('prometheus/alerts.yml')).groups.flatMap(
  (group: { rules: readonly Rule[] }) => group.rules,
)
const cases: Case[] = parse(read('prometheus/alerts.test.yml')).tests
const dashboard = JSON.parse(read('grafana/spillway.json'))
const panels: Panel[] = dashboard.panels
const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))

const known = new Set(
  metricSubjects.flatMap(({ metrics }) =>
    Object.entries<MetricDefinition>(metrics).flatMap(([name, definition]) => [
      ...(definition.type === 'histogram'
        ? ['_bucket', '_sum', '_count'].map((part) => `${name}${part}`)
        : [name]),
      ...(destinationMetric(definition) ? [destinationMetricName(name)] : []),
    ]),
  ),
)
const namesIn = (expression: string): string[] =>
  expression.match(/\b(spillway|process|nodejs)_[a-z0-9_]+/g) ?? []
const unknownIn = (expressions: readonly string[]) =>
  expressions.flatMap(namesIn).filter((name) => !known.has(name))

describe('the alert rules', () => {
  test('ask for metrics that there are, and for events that there are', () => {
    expect(rules.flatMap(({ expr }) => namesIn(expr)).length).toBeGreaterThan(20)
    expect(unknownIn(rules.map(({ expr }) => expr))).toEqual([])
    const asked = rules.flatMap(({ expr }) => [...expr.matchAll(/event="([^"]+)"/g)].map(([, code]) => code))
    expect(asked.filter((code) => !(String(code) in events))).toEqual([])
    // What is asked for by its field or label has to be one that is listed.
    const statuses = rules.flatMap(({ expr }) =>
      [...expr.matchAll(/status="([^"]+)"/g)].map(([, one]) => one),
    )
    expect(['backing_off', 'unauthorized', 'invalid']).toEqual(expect.arrayContaining(statuses))
  })

  test.each(rules)(
    '$alert says how bad it is, what it is, and where the runbook is',
    ({ labels, annotations }) => {
      expect(['warning', 'critical']).toContain(labels.severity)
      expect(annotations.summary).toMatch(/^\S.*\.$/)
      expect(annotations.description).toMatch(/^\S.*\.$/s)
      const [path, anchor] = annotations.runbook_url?.split('#') ?? []
      expect(path).toBe('docs/RUNBOOK.md')
      const sections = Object.entries<EventDefinition>(events)
        .filter(([, { level }]) => level === 'warn' || level === 'error' || level === 'fatal')
        .map(([code]) => code.replaceAll('.', ''))
      if (anchor !== undefined) expect(sections).toContain(anchor)
    },
  )

  test.each(rules)('$alert has a case that fires and one that does not', ({ alert }) => {
    const expected = (name: string) =>
      cases.find((each) => each.name === `${alert} ${name}`)?.promql_expr_test?.[0]?.exp_samples
    expect(expected('fires')).toHaveLength(1)
    expect(expected('does not fire')).toEqual([])
  })

  test.skipIf(promtoolIsMissing)(
    'are taken by Prometheus, and fire when they should',
    () => {
      expect(promtool(['check', 'rules', 'alerts.yml'])).toMatchObject({ status: 0 })
      expect(promtool(['test', 'rules', 'alerts.test.yml'])).toMatchObject({ status: 0 })
      // It makes a database for each of some fifty cases.
    },
    60_000,
  )
})

describe('the dashboard', () => {
  test('shows every metric there is, and no other', () => {
    expect(unknownIn(queries)).toEqual([])
    const shown = new Set(queries.flatMap(namesIn))
    const bases = metricSubjects.flatMap(({ metrics }) => Object.keys(metrics))
    const isShown = (name: string) =>
      [...shown].some((each) => each.replace(/_(bucket|sum|count)$/, '') === name)
    expect(bases.filter((name) => !isShown(name))).toEqual([])
  })

  test('can be imported: a data source to choose, and panels that have a place of their own', () => {
    expect(dashboard).toMatchObject({ id: null, uid: 'spillway', schemaVersion: expect.any(Number) })
    const [source, ...variables] = dashboard.templating.list
    expect(source).toMatchObject({ name: 'datasource', type: 'datasource', query: 'prometheus' })
    expect(variables.map(({ name }: { name: string }) => name)).toEqual(['job', 'instance'])
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    for (const [index, { gridPos: one, datasource, type }] of panels.entries()) {
      if (type !== 'row') expect(datasource?.uid).toBe('$' + '{datasource}')
      expect(one.x + one.w).toBeLessThanOrEqual(24)
      for (const { gridPos: other } of panels.slice(index + 1)) {
        const apart =
          one.x + one.w <= other.x ||
          other.x + other.w <= one.x ||
          one.y + one.h <= other.y ||
          other.y + other.h <= one.y
        expect(apart).toBe(true)
      }
    }
  })

  test.skipIf(promtoolIsMissing)('asks in a language that Prometheus understands', () => {
    const expressions = queries.map((query) =>
      query.replaceAll('$__rate_interval', '5m').replaceAll(/\$(job|instance)/g, '.*'),
    )
    const recorded = expressions.map((expr, index) => ({ record: `query_${index}`, expr }))
    const folder = mkdtempSync(join(tmpdir(), 'spillway-dashboard-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'queries.yml')
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules: recorded }] }))
    expect(promtool(['check', 'rules', file])).toMatchObject({ status: 0 })
  })
})
