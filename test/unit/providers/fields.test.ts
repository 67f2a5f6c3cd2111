import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Fields, parseFields } from '../../../providers/fields.ts'
import { DestinationConfigError, type Secrets } from '../../../providers/provider.ts'
import { runs } from './events.ts'

const sample = (fields: Fields) => ({
  name: fields.text('name', { what: 'a name', maxLength: 5 }),
  note: fields.optionalText('note', { what: 'a note' }),
  count: fields.integer('count', { min: 1, max: 9 }),
  loud: fields.flag('loud', false),
  colour: fields.choice('colour', ['red', 'blue'], 'red'),
  url: fields.optionalUrl('url', 'an address'),
  inner: fields.nested('inner', (inner) => inner.text('key', { what: 'a key' })),
  free: fields.members('free'),
})

function problems(raw: unknown, read: (fields: Fields) => unknown = sample): Record<string, string> {
  try {
    parseFields(raw, read)
  } catch (error) {
    if (error instanceof DestinationConfigError) {
      return Object.fromEntries(error.fields.map(({ field, problem }) => [field, problem]))
    }
    throw error
  }
  return {}
}

describe('the fields of a config', () => {
  it('are read with their types and defaults', () => {
    expect(parseFields({ name: 'n' }, sample)).toEqual({
      name: 'n',
      note: undefined,
      count: undefined,
      loud: false,
      colour: 'red',
      url: undefined,
      inner: undefined,
      free: [],
    })
  })

  it('count as not given when they are null', () => {
    const raw = {
      name: 'n',
      note: null,
      count: null,
      loud: null,
      colour: null,
      url: null,
      inner: null,
      free: null,
    }
    expect(problems(raw)).toEqual({})
  })

  it('are all checked before one error names them all', () => {
    const raw = {
      name: 'too long',
      note: 7,
      count: 10,
      loud: 'yes',
      colour: 'green',
      url: 'ftp://example.com',
      inner: { kay: 'x' },
      free: [],
      extra: 1,
    }
    expect(problems(raw)).toEqual({
      'config.name': 'is longer than 5 characters',
      'config.note': 'must be text, not a number; write a note',
      'config.count': 'must be a whole number from 1 to 9',
      'config.loud': 'must be true or false, not text',
      'config.colour': 'must be one of red, blue',
      'config.url': 'must begin with https:// or http://',
      'config.inner.key': 'is missing; write a key',
      'config.inner.kay': 'is not a field that this version knows; did you mean key?',
      'config.free': 'must be a JSON object, not a list',
      'config.extra': expect.stringMatching(
        /^is not a field that this version knows; known here: name, note,/,
      ),
    })
  })

  it.each(['1', 1.5, Number.NaN, 0, true, [1]])('take no %j for a whole number', (count) => {
    expect(problems({ name: 'n', count })).toHaveProperty(['config.count'])
  })

  it('are not taken from a prototype', () => {
    expect(problems(Object.create({ name: 'n' }))).toEqual({ 'config.name': 'is missing; write a name' })
    expect(problems(JSON.parse('{"name":"n","__proto__":{}}'))).toHaveProperty(['config.__proto__'])
    expect(problems({ name: 'n', constructor: 1 })).toHaveProperty(['config.constructor'])
  })

  it('leave the unknown ones alone where the field that decides is bad', () => {
    const read = (fields: Fields) => fields.nested('auth', (auth) => auth.letUnknownPass())
    expect(problems({ auth: { token: 'x' } }, read)).toEqual({})
  })

  it('never show a value, whatever is written and wherever', () => {
    const secret = 'hush-7f3a9c'
    const places = ['name', 'note', 'count', 'loud', 'colour', 'url', 'inner', 'free', 'extra']
    const forms = fc.constantFrom<unknown>(
      secret,
      [secret],
      { a: secret },
      `https://u:${secret}@x`,
      `${secret} #\n`,
    )
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...places), forms), (raw) => {
        expect(JSON.stringify(problems(raw))).not.toContain(secret)
      }),
      runs,
    )
  })

  it('never make the reader fail in another way', () => {
    fc.assert(
      fc.property(fc.anything(), (raw) => {
        problems(raw)
      }),
      runs,
    )
  })
})

describe('an address', () => {
  const read = (fields: Fields) => fields.url('url', 'an address')

  it.each(['https://example.com', 'http://[::1]:8080/a?b=c', 'HTTPS://EXAMPLE.COM/%20'])(
    'may be %s',
    (url) => {
      expect(problems({ url }, read)).toEqual({})
    },
  )

  it.each([
    ['', 'is empty'],
    ['example.com/hook', 'is not a web address'],
    ['https://', 'is not a web address'],
    ['javascript:alert(1)', 'must begin with https'],
    ['file:///etc/passwd', 'must begin with https'],
    ['https://user@example.com', 'user name'],
    ['https://:pw@example.com', 'password'],
    ['https://example.com/#part', 'fragment'],
    ['https://example.com/#', 'fragment'],
    [' https://example.com', 'space'],
    ['https://exa\nmple.com', 'line break'],
  ])('may not be %j', (url, problem) => {
    expect(problems({ url }, read)['config.url']).toContain(problem)
  })
})

describe('secret fields', () => {
  const secrets: Secrets = {
    reveal: (written) =>
      written === 'sealed'
        ? { value: 'opened' }
        : written === 'broken'
          ? { problem: 'does not open' }
          : { value: written },
  }
  const what = { what: 'a key', check: (text: string) => (text === 'bad' ? 'is bad' : undefined) }
  const read = (fields: Fields) => ({
    one: fields.secret('one', what),
    list: fields.secrets('list', what, { min: 1, max: 2 }),
    plain: fields.optionalText('plain', { what: 'a text' }),
    inner: fields.nested('inner', (inner) => inner.secretAt(['map', 'a.b'], inner.value('map'), what)),
  })
  const parse = (raw: unknown) => parseFields(raw, read, 'config', secrets)

  it('are what the forms that are written come to', () => {
    expect(parse({ one: 'sealed', list: ['x', 'sealed'], inner: { map: 'sealed' } })).toEqual({
      one: 'opened',
      list: ['x', 'opened'],
      plain: undefined,
      inner: 'opened',
    })
  })

  it('are judged by their rule when they have been opened, each by its path', () => {
    const raw = {
      one: 'broken',
      list: ['bad', 7, 'x'],
      plain: 'enc:v1:k:abc',
      inner: { map: { $secret: 'A' } },
    }
    expect(problems(raw, read)).toMatchObject({ 'config.list': 'must hold from 1 to 2' })
    const error = (() => {
      try {
        return parse(raw)
      } catch (thrown) {
        return thrown
      }
    })()
    expect(error).toMatchObject({
      fields: [
        { field: 'config.one', problem: 'does not open' },
        { field: 'config.list', problem: 'must hold from 1 to 2' },
        { field: 'config.list[0]', problem: 'is bad' },
        { field: 'config.list[1]', problem: 'must be text, not a number; write a key' },
        { field: 'config.plain', problem: expect.stringContaining('only secret fields may') },
        { field: 'config.inner.map.a.b', problem: 'must be text, not an object; write a key' },
      ],
    })
  })

  it('know plain text alone where nothing opens them', () => {
    expect(problems({ one: 'enc:v1:k:abc', list: ['x'] }, read)).toEqual({
      'config.one': expect.stringContaining('encrypted secret'),
    })
  })

  it('tell their places to what opens them', () => {
    const heard: unknown[] = []
    const raw = { one: 'x', list: ['x', 'y'], plain: 'x', inner: { map: 'x' } }
    parseFields(raw, read, 'config', {
      reveal(written, at) {
        heard.push(at)
        return { value: written }
      },
    })
    expect(heard).toEqual([['one'], ['list', 0], ['list', 1], ['inner', 'map', 'a.b']])
  })
})
