import fc from 'fast-check'
import { expect, test } from 'vitest'
import { jsonOf } from '../../../src/events/columns.ts'
import type { Content, Structure } from '../../../src/events/structure.ts'

interface Made {
  readonly content: Content
  /** What `to_json` writes, and what shall become of it. */
  readonly from: string
  readonly to: unknown
}

const texts = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('1.10', '"', '\\', '[', '{"a":', 'null', '}],'),
)
/** V8's JSON.parse (Node 20 and 24) now and then takes a name `"` for a `\\` that it saw before. */
const names = texts.filter((text) => !text.includes('\\'))
const scalars = {
  bigint: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => {
    const safe = Number.isSafeInteger(Number(value))
    return { from: String(value), to: safe ? Number(value) : String(value) }
  }),
  numeric: fc.oneof(
    fc
      .tuple(fc.bigInt(), fc.nat())
      .map(([whole, part]) => ({ from: `${whole}.${part}0`, to: `${whole}.${part}0` })),
    fc.constantFrom('NaN', '-Infinity').map((text) => ({ from: JSON.stringify(text), to: text })),
  ),
  'double precision': fc.constantFrom('1e+300', '-0.5').map((text) => ({ from: text, to: Number(text) })),
  bytea: fc.uint8Array().map((bytes) => {
    const buffer = Buffer.from(bytes)
    return { from: JSON.stringify(`\\x${buffer.toString('hex')}`), to: buffer.toString('base64') }
  }),
  oid: fc.nat().map((value) => ({ from: `"${value}"`, to: value })),
  text: texts.map((text) => ({ from: JSON.stringify(text), to: text })),
  json: fc
    .jsonValue()
    .map((value) => ({ from: JSON.stringify(value, null, 1), to: JSON.parse(JSON.stringify(value)) })),
  'timestamp with time zone': fc.constant({
    from: '"2026-03-01T06:30:00.1+00:00"',
    to: '2026-03-01T06:30:00.1Z',
  }),
}
const nothing = { from: 'null', to: null }

/** Values of one content: what is made depends on the type, so types are drawn first. */
const contents = fc.letrec<{ content: Content; structure: Structure }>((tie) => ({
  content: fc.oneof({ depthSize: 'small' }, fc.constantFrom(...Object.keys(scalars)), tie('structure')),
  structure: fc.oneof(
    tie('content').map((of) => ({ of })),
    fc
      .uniqueArray(fc.tuple(names, tie('content')), { selector: ([name]) => name, maxLength: 4 })
      .map((attributes) => ({ attributes: new Map(attributes) })),
  ),
}))

function anyOf(content: Content): fc.Arbitrary<{ from: string; to: unknown }> {
  if (typeof content === 'string') {
    const scalar = scalars[content as keyof typeof scalars]
    return fc.oneof(scalar as fc.Arbitrary<{ from: string; to: unknown }>, fc.constant(nothing))
  }
  if ('of' in content) {
    return fc.array(anyOf(content.of), { maxLength: 4 }).map((values) => ({
      from: `[${values.map(({ from }) => from).join(',')}]`,
      to: values.map(({ to }) => to),
    }))
  }
  const keys = [...content.attributes.keys()]
  return fc.tuple(...[...content.attributes.values()].map(anyOf)).map((values) => ({
    from: `{${values.map(({ from }, index) => `${JSON.stringify(keys[index])}:${from}`).join(',')}}`,
    to: values.map(({ to }, index) => [keys[index], to]),
  }))
}

/** Members as pairs, in their order, as far as the type has them. */
function pairs(value: unknown, content: Content): unknown {
  if (value === null || typeof content === 'string') return value
  if ('of' in content) return (value as unknown[]).map((each) => pairs(each, content.of))
  return [...content.attributes].map(([name, of]) => [
    name,
    pairs((value as Record<string, unknown>)[name], of),
  ])
}

const made: fc.Arbitrary<Made & { content: Structure }> = contents.structure.chain((content) =>
  anyOf(content).map((value) => ({ content, ...value })),
)

test('whatever the types, the values inside are what they are on their own', () => {
  fc.assert(
    fc.property(made, ({ content, from, to }) => {
      const json = jsonOf({ name: 'c', type: 'any', structured: content })(from)
      expect(pairs(JSON.parse(json), content)).toEqual(to)
      expect(json).not.toContain('\n')
    }),
    { seed: 21, numRuns: 400 },
  )
})

test('a json value thousands of levels deep does not overflow the stack', () => {
  const deep = `${'['.repeat(50_000)}1${']'.repeat(50_000)}`
  const structured = {
    attributes: new Map<string, Content>([
      ['n', 'bigint'],
      ['doc', 'json'],
    ]),
  }
  const json = jsonOf({ name: 'c', type: 'any', structured })(`{"doc":${deep},"n":9007199254740993}`)
  expect(json).toBe(`{"doc":${deep},"n":"9007199254740993"}`)
})

test('an attribute that is not known, or JSON of another shape, is left alone', () => {
  const structured = { attributes: new Map([['n', { of: 'bigint' }]]) }
  for (const json of [
    '{"m":9007199254740993,"n":9007199254740993}',
    '[9007199254740993]',
    '9007199254740993',
    'null',
  ]) {
    expect(jsonOf({ name: 'c', type: 'any', structured })(json)).toBe(json)
  }
})
