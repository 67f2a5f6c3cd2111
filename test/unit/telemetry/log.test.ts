import { describe, expect, test } from 'vitest'
import { ConfigError, SourceError } from '../../../src/errors.ts'
import { createLog, type Log, type LogOptions } from '../../../src/telemetry/log.ts'

function capture(options: Partial<LogOptions> = {}): {
  log: Log
  lines: Record<string, unknown>[]
  raw: string[]
} {
  const raw: string[] = []
  const lines: Record<string, unknown>[] = []
  const stream = {
    write(line: string) {
      raw.push(line)
      lines.push(JSON.parse(line))
    },
  }
  return { log: createLog({ level: 'debug', version: '1.2.3', ...options, stream }), lines, raw }
}

const destination = { destination_id: 12, name: 'siem', type: 'http', org: 'acme' }

describe('the log', () => {
  test('writes one JSON line with the code, the level of the catalogue and a sentence', () => {
    const { log, lines, raw } = capture()
    log.emit('destination.backing_off', {
      ...destination,
      next_attempt_at: Date.UTC(2026, 0, 5, 9, 30),
      delay_ms: 60_000,
      consecutive_failures: 3,
    })
    expect(raw).toHaveLength(1)
    expect(lines[0]).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      service: 'spillway',
      version: '1.2.3',
      pid: process.pid,
      event: 'destination.backing_off',
      ...destination,
      next_attempt_at: '2026-01-05T09:30:00.000Z',
      delay_ms: 60_000,
      consecutive_failures: 3,
      msg: 'Next attempt for siem at 2026-01-05T09:30:00.000Z.',
    })
  })

  test('checks names and types of fields when it is compiled', () => {
    const { log } = capture()
    const neverRun = () => {
      // @ts-expect-error: no such code
      log.emit('destination.exploded', {})
      // @ts-expect-error: the fields are missing
      log.emit('destination.removed')
      // @ts-expect-error: a field too many
      log.emit('destination.removed', { ...destination, surprise: 1 })
      // @ts-expect-error: a duration is a number
      log.emit('daemon.stopped', { duration_ms: '5' })
      // @ts-expect-error: not one of the bounded reasons
      log.emit('lease.lost', { shards: '0', count: 1, held: 0, reason: 'because' })
    }
    expect(neverRun).toBeTypeOf('function')
  })

  test('writes a missing optional field not at all and a null org as null', () => {
    const { log, lines } = capture()
    log.emit('destination.gone', {
      ...destination,
      org: null,
      status: undefined,
      message: 'It answered 410.',
    })
    expect(lines[0]).toMatchObject({ org: null, level: 'warn' })
    expect(lines[0]).not.toHaveProperty('status')
  })

  test('keeps to the level', () => {
    const { log, lines } = capture({ level: 'warn' })
    log.emit('daemon.stopped', { duration_ms: 1 })
    expect(lines).toEqual([])
    const silent = capture({ level: 'silent' })
    silent.log.emit('daemon.failed', { error: new Error('x') })
    expect(silent.lines).toEqual([])
  })

  test('gives the bindings of a child to all of its lines', () => {
    const { log, lines } = capture()
    log.child({ shard: 3, token: 'c4n4ry' }).emit('daemon.stopped', { duration_ms: 1 })
    expect(lines[0]).toMatchObject({ shard: 3, token: '[redacted]', event: 'daemon.stopped' })
  })

  test('drops what the catalogue does not know, though a widened type let it through', () => {
    const { log, lines } = capture()
    const row = { ...destination, config: { auth: 'c4n4ry' } }
    const widened: typeof destination = row
    log.emit('destination.removed', widened)
    expect(lines[0]).not.toHaveProperty('config')
  })

  test('cuts long values and long lists', () => {
    const { log, raw, lines } = capture()
    log.emit('destination.invalid', { ...destination, problems: Array(1_000).fill('x'.repeat(100_000)) })
    expect(raw[0]?.length).toBeLessThan(60_000)
    expect(lines[0]?.problems).toHaveLength(51)
  })

  test('resolves a flush', async () => {
    await capture().log.flush()
  })
})

describe('an error in the log', () => {
  const fatal = (error: unknown) => {
    const { log, lines } = capture()
    log.emit('daemon.failed', { error })
    return lines[0]?.error
  }

  test('keeps name, message, code, hint and the chain of causes', () => {
    const cause = Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED' })
    expect(fatal(new SourceError('cannot read', 'grant SELECT', { cause }))).toEqual({
      name: 'SourceError',
      message: 'cannot read',
      code: 'SOURCE',
      hint: 'grant SELECT',
      cause: { name: 'Error', message: 'connection refused', code: 'ECONNREFUSED' },
    })
  })

  test('has a stack only where there is no hint', () => {
    expect(fatal(new Error('a bug'))).toMatchObject({
      stack: expect.arrayContaining([expect.stringMatching(/^at .*log\.test\.ts/)]),
    })
    expect(fatal(new ConfigError([{ field: 'A', problem: 'b' }]))).not.toHaveProperty('stack')
  })

  test('tells the errors of an aggregate and survives causes that go in a circle', () => {
    const circle = new Error('round')
    circle.cause = circle
    expect(fatal(new AggregateError([new Error('::1 refused'), circle]))).toMatchObject({
      errors: [{ message: '::1 refused' }, { message: 'round' }],
    })
  })

  test('takes whatever was thrown', () => {
    expect(fatal('a string')).toEqual({ name: 'string', message: 'a string' })
    expect(fatal({ password: 'c4n4ry' })).toEqual({ name: 'object', message: 'a thrown object' })
    expect(fatal(Object.assign(new Error('x'), { message: undefined, hint: 'h' }))).toMatchObject({
      message: 'undefined',
    })
  })
})

describe('secrets', () => {
  const canary = 'c4n4ry-9f2'

  test.each([
    ['a property of an error', Object.assign(new Error('refused'), { parameters: [canary], query: canary })],
    ['a property of a cause', new Error('x', { cause: Object.assign(new Error('y'), { headers: canary }) })],
    ['a password in a URL', new Error(`cannot connect to postgres://spillway:${canary}@db:5432/audit`)],
    ['a user name that is a token', new Error(`GET https://${canary}@host/ failed`)],
    ['a header that is quoted', new Error(`sent Authorization: Bearer ${canary}, got 401`)],
    ['basic credentials', new Error(`sent Basic ${canary}==`)],
  ])('do not get into a line as %s', (_, error) => {
    const { log, raw } = capture()
    log.emit('daemon.failed', { error })
    expect(raw[0]).not.toContain(canary)
  })

  test.each([
    'authorization',
    'Authorization',
    'api_key',
    'apiKey',
    'API-KEY',
    'client_secret',
    'x-token',
    'dbPassword',
  ])('do not get into a line under the name %s', (key) => {
    const { log, raw } = capture()
    log.child({ [key]: canary }).emit('daemon.stopped', { duration_ms: 1 })
    expect(raw[0]).not.toContain(canary)
    expect(raw[0]).toContain('[redacted]')
  })
})
