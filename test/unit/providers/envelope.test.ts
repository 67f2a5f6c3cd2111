import fc from 'fast-check'
import { expect, it } from 'vitest'
import { envelope } from '../../../providers/envelope.ts'
import { anyEvent, eventWith, runs } from './events.ts'

it('has the five fields in their order', () => {
  expect(envelope(eventWith({ a: 1 }))).toBe(
    '{"id":"action:1","event":"action","timestamp":"2026-03-01T12:00:00.123456Z","org_id":"acme","data":{"a":1}}',
  )
})

it('says null for an event of no org', () => {
  expect(envelope(eventWith({}, { orgId: null }))).toContain('"org_id":null')
})

it('keeps every digit of a number', () => {
  const dataJson = '{"big":123456789012345678901234567890,"exact":1.10000000000000000001}'
  expect(envelope(eventWith({}, { dataJson }))).toContain(`"data":${dataJson}}`)
})

it('is one line of JSON that says what the event says, whatever that is', () => {
  fc.assert(
    fc.property(anyEvent, (event) => {
      const text = envelope(event)
      expect(text).not.toMatch(/[\r\n]/)
      expect(JSON.parse(text)).toEqual({
        id: event.id,
        event: event.logType,
        timestamp: event.timestamp,
        org_id: event.orgId,
        data: JSON.parse(event.dataJson),
      })
    }),
    runs,
  )
})
