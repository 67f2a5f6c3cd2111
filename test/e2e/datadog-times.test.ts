import { expect, it } from 'vitest'
import { type DaemonProcess, startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { datadogIntake } from '../support/fakes/datadog.ts'
import { createScene } from '../support/scene.ts'

const apiKey = 'a'.repeat(32)

/** A daemon with one Datadog destination, and rows of these ages in front of it. */
async function scene(timestampMode: string, env: Record<string, string> = {}) {
  const { url, sql, receiver } = await createScene()
  const intake = datadogIntake(apiKey)
  receiver.always({ choose: intake.answer })
  const daemon = await startDaemon(url, env)
  const config = { apiKey, endpoint: receiver.url, timestampMode }
  const id = await insertDestination(sql, { url: '', type: 'datadog', config })
  await daemon.logged('destination.added')
  const write = (...ages: readonly string[]) => sql`
    INSERT INTO spillway.request_audit_log (org_id, occurred_at)
    SELECT 'acme', now() - age::interval FROM unnest(${`{${ages.join(',')}}`}::text::text[]) age`
  const skipped = () => sql`
    SELECT from_position, to_position, event_count, reason FROM spillway.skipped_ranges ORDER BY id`
  return { sql, receiver, intake, daemon, id, write, skipped }
}

const idsOf = (logs: readonly { readonly [name: string]: unknown }[]) => logs.map(({ id }) => id)
const codes = ({ lines }: DaemonProcess) => lines.map(({ event }) => event)

it('an event of another time than Datadog takes is on record, and never behind a 202', async () => {
  const { sql, intake, daemon, id, write, skipped } = await scene('event')
  await write('19 h', '17 h 56 min', '17 h 50 min', '0', '-1 h', '-118 min', '-3 h', '20 h')
  await settled(sql, id, null)
  const reasons = [
    await daemon.logged('events.skipped'),
    await daemon.logged('events.skipped', ({ reason }) => reason !== 'too_old_for_provider'),
  ]
  expect(reasons).toMatchObject([
    { event_count: 3, reason: 'too_old_for_provider' },
    { event_count: 2, reason: 'too_far_ahead_for_provider' },
  ])
  await daemon.stop()
  expect(intake.dropped).toBe(0)
  expect(idsOf(intake.logs)).toEqual(['request:3', 'request:4', 'request:5'])
  expect(await skipped()).toEqual([
    { from_position: '0', to_position: '2', event_count: '2', reason: 'too_old_for_provider' },
    { from_position: '5', to_position: '7', event_count: '2', reason: 'too_far_ahead_for_provider' },
    { from_position: '7', to_position: '8', event_count: '1', reason: 'too_old_for_provider' },
  ])
})

it('a batch whose events grow too old while the intake fails is judged again, and what is skipped counted', async () => {
  const { sql, receiver, intake, daemon, id, write, skipped } = await scene('event', {
    SPILLWAY_BACKOFF_SCHEDULE_MS: '200',
  })
  receiver.always({ status: 503 })
  await write('17 h 54 min 48 s', '0', '17 h 54 min 48 s', '17 h 54 min 48 s')
  const [first] = await receiver.received(1)
  expect(JSON.parse(String(first?.body))).toHaveLength(4)
  // Until three of them have passed the border: the batch that is tried then has one event left.
  for (let count = 1; JSON.parse(String(receiver.requests.at(-1)?.body)).length > 1; count += 1) {
    await receiver.received(count + 1)
  }
  receiver.always({ choose: intake.answer })
  await settled(sql, id, null)
  await daemon.stop()
  expect(intake.dropped).toBe(0)
  expect(idsOf(intake.logs)).toEqual(['request:2'])
  expect(await skipped()).toEqual([
    { from_position: '0', to_position: '1', event_count: '1', reason: 'too_old_for_provider' },
    { from_position: '2', to_position: '4', event_count: '2', reason: 'too_old_for_provider' },
  ])
})

it('with "forward" everything arrives, what Datadog would drop under the time of sending', async () => {
  const { sql, intake, daemon, id, write, skipped } = await scene('forward')
  await write('400 days', '19 h', '17 h', '1 h', '-1 h', '-3 h')
  await settled(sql, id, null)
  await daemon.stop()
  expect(intake.dropped).toBe(0)
  expect(idsOf(intake.logs)).toEqual([1, 2, 3, 4, 5, 6].map((row) => `request:${row}`))
  const isForwarded = intake.logs.map(({ original_timestamp }) => original_timestamp !== undefined)
  expect(isForwarded).toEqual([true, true, true, false, false, true])
  for (const { original_timestamp, timestamp, data } of intake.logs) {
    if (original_timestamp === undefined) continue
    expect(original_timestamp).toBe((data as { occurred_at: string }).occurred_at)
    expect(Math.abs(Number(timestamp) - Date.now())).toBeLessThan(60_000)
  }
  expect(await skipped()).toEqual([])
  expect(codes(daemon)).not.toContain('events.skipped')
})
