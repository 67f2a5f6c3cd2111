import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileTemplate, fillTemplate } from '../../../providers/http/template.ts'
import type { AuditEvent } from '../../../providers/provider.ts'
import { anyEvent, eventWith, row, runs } from './events.ts'

function compile(document: unknown) {
  const problems: [string, string][] = []
  const template = compileTemplate(document, (path, problem) => problems.push([path, problem]))
  return { template, problems }
}

function fill(document: unknown, event: AuditEvent): string {
  const { template, problems } = compile(document)
  expect(problems).toEqual([])
  return fillTemplate(template, event)
}

const event = eventWith({ actor: 'alice', n: 7, ok: true, none: null, deep: { list: [{ x: 'y' }] } })

describe('a placeholder alone in its string', () => {
  it.each([
    ['{{id}}', 'action:1'],
    ['{{ event }}', 'action'],
    ['{{timestamp}}', event.timestamp],
    ['{{org_id}}', 'acme'],
    ['{{data}}', JSON.parse(event.dataJson)],
    ['{{data.actor}}', 'alice'],
    ['{{data.n}}', 7],
    ['{{data.ok}}', true],
    ['{{data.none}}', null],
    ['{{data.deep}}', { list: [{ x: 'y' }] }],
    ['{{data.deep.list.0.x}}', 'y'],
    ['{{data.missing}}', null],
    ['{{data.actor.length}}', null],
    ['{{data.deep.list.length}}', null],
    ['{{data.constructor.name}}', null],
    ['{{data.__proto__}}', null],
  ])('%s keeps the type of its value', (text, value) => {
    expect(JSON.parse(fill({ v: text }, event))).toEqual({ v: value })
    expect(JSON.parse(fill(text, event))).toEqual(value)
  })

  it('keeps every digit of a number', () => {
    const exact = eventWith({}, { dataJson: '{"n":12345678901234567890,"m":{"x":1.10}}' })
    expect(fill(['{{data.n}}', '{{data.m}}', '{{data.m.x}}', 'n={{data.n}}', '{{data}}'], exact)).toBe(
      `[12345678901234567890,{"x":1.10},1.10,"n=12345678901234567890",${exact.dataJson}]`,
    )
  })

  it('is null for an event of no org', () => {
    expect(fill(['{{org_id}}', 'org {{org_id}}'], { ...event, orgId: null })).toBe('[null,"org "]')
  })
})

describe('a placeholder inside other text', () => {
  it.each([
    ['by {{data.actor}} ({{data.n}}, {{data.ok}})', 'by alice (7, true)'],
    ['{{data.missing}}|{{data.none}}|', '||'],
    ['{{data.deep}}!', '{"list":[{"x":"y"}]}!'],
    ['{{id}}{{id}}', 'action:1action:1'],
    ['a { b } c {{id}}', 'a { b } c action:1'],
  ])('%s is filled as text', (text, value) => {
    expect(JSON.parse(fill(text, event))).toBe(value)
  })
})

describe('a template', () => {
  it('keeps what is no placeholder', () => {
    const document = { a: [1, null, true, 'text "quoted"', {}, []], 'key "quoted"': { b: '{ { }' } }
    expect(JSON.parse(fill(document, event))).toEqual(document)
  })

  it('is filled in one line, however the row was written', () => {
    expect(fill('{{data}}', eventWith({}, { dataJson: '{\r\n"a":\n1}' }))).not.toMatch(/[\r\n]/)
  })

  it('takes a row that is nested thousands deep', () => {
    const dataJson = `{"deep":${'['.repeat(50_000)}${']'.repeat(50_000)},"a":1}`
    expect(fill('{{data.a}}', eventWith({}, { dataJson }))).toBe('1')
  })

  it.each([
    [{ a: { b: ['x', '{{nope}}'] } }, '.a.b[1]', 'unknown placeholder {{nope}}'],
    ['{{org}}', '', 'there are id, event, timestamp, org_id, data and data.<column>'],
    ['{{orgid}}', '', 'did you mean {{org_id}}?'],
    ['{{}}', '', 'unknown placeholder'],
    ['{{data.}}', '', 'unknown placeholder'],
    ['{{data..a}}', '', 'unknown placeholder'],
    ['{{id.x}}', '', 'unknown placeholder'],
    ['{{Data.a}}', '', 'did you mean {{data}}?'],
    ['{{id', '', 'has {{ without its }}'],
    ['id}}', '', 'has }} without its {{'],
    ['{{id}} }}', '', 'has }} without its {{'],
    ['{{id}} {{', '', 'has {{ without its }}'],
    ['{{{id}}}', '', 'unbalanced'],
    ['{{ {{id}} }}', '', 'unbalanced'],
    [{ '{{id}}': 1 }, '.{{id}}', 'placeholders work in values only'],
    [{ 'a}}': 1 }, '.a}}', 'placeholders work in values only'],
    [{ a: [{ $secret: 'NAME' }] }, '.a[0]', 'holds a secret'],
    [{ a: 'enc:v1:k:abc' }, '.a', 'holds a secret'],
    [7, '', 'must be'],
    [true, '', 'must be'],
  ])('%j is refused with its place', (document, path, problem) => {
    const { problems } = compile(document)
    expect(problems[0]?.[0]).toBe(path)
    expect(problems[0]?.[1]).toContain(problem)
  })

  it('reports every problem', () => {
    expect(compile(['{{a1}} {{b1}}', { c: '}}' }]).problems.map(([path]) => path)).toEqual([
      '[0]',
      '[0]',
      '[1].c',
    ])
  })

  it('is refused if it is nested too deep', () => {
    const deep = Array.from({ length: 5_000 }).reduce((inner) => [inner], '{{id}}')
    expect(compile(deep).problems).toHaveLength(1)
  })

  it('is never broken or forged by what an event brings', () => {
    const document = {
      fixed: 'text',
      id: '{{id}}',
      all: '{{data}}',
      a: '{{data.a}}',
      said: 'a={{data.a}} org={{org_id}} id={{id}} {{data.b.c}}',
      list: ['{{event}}', 7, '{{data.b.c}}'],
    }
    const { template } = compile(document)
    fc.assert(
      fc.property(anyEvent, (one) => {
        const text = fillTemplate(template, one)
        expect(text).not.toMatch(/[\r\n]/)
        const data = new Map<string, unknown>(Object.entries(JSON.parse(one.dataJson)))
        const b = data.get('b')
        const isContainer = typeof b === 'object' && b !== null
        const c = isContainer ? (new Map<string, unknown>(Object.entries(b)).get('c') ?? null) : null
        expect(JSON.parse(text)).toEqual({
          fixed: 'text',
          id: one.id,
          all: JSON.parse(one.dataJson),
          a: data.get('a') ?? null,
          said: said(data.get('a'), one, c),
          list: [one.logType, 7, c],
        })
      }),
      runs,
    )
  })

  /** The interpolated string; of lists, objects and numbers only that they are text. */
  function said(a: unknown, one: AuditEvent, c: unknown): unknown {
    const shown = [a, c].map((value) => value ?? '')
    if (!shown.every((value) => typeof value === 'string')) return expect.any(String)
    return `a=${shown[0]} org=${one.orgId ?? ''} id=${one.id} ${shown[1]}`
  }

  it('leaves placeholders in an event as they are', () => {
    const tricky = eventWith({ a: '{{id}}', b: '{{data.a}}' }, { id: '{{data.b}}' })
    expect(JSON.parse(fill(['{{id}}', '{{data.a}}', 'x {{data.b}} {{id}}'], tricky))).toEqual([
      '{{data.b}}',
      '{{id}}',
      'x {{data.a}} {{data.b}}',
    ])
  })

  it('gives the same text for the same event', () => {
    fc.assert(
      fc.property(row, (data) => {
        const { template } = compile({ all: '{{data}}', a: 'x{{data.a}}' })
        expect(fillTemplate(template, eventWith(data))).toBe(fillTemplate(template, eventWith(data)))
      }),
      runs,
    )
  })
})
