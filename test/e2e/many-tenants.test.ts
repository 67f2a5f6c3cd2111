import { expect, it } from 'vitest'
import { deliveries } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination } from '../support/destinations.ts'
import { sentSpans } from '../support/otlp.ts'
import { whenDone } from '../support/postgres.ts'
import { startReceiver } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'

const tenants = 200

it('reads what a tick brings to two hundred tenants in a fraction of as many statements, each its own', async () => {
  const { url, sql, receiver } = await createScene()
  const collector = await startReceiver()
  whenDone(() => collector.close())
  const orgs = Array.from({ length: tenants }, (_, index) => `tenant-${index}`)
  const insert = (each: number) => sql`
    INSERT INTO spillway.request_audit_log (org_id)
    SELECT 'tenant-' || g % ${tenants}::int FROM generate_series(1, ${each * tenants}::int) g`
  await insert(1)
  const ids = await Promise.all(
    orgs.map((org) => insertDestination(sql, { url: `${receiver.url}/${org}`, org })),
  )
  const daemon = await startDaemon(url, { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url })
  for (const id of ids) {
    await daemon.logged('destination.added', ({ destination_id }) => destination_id === id)
  }
  await insert(1)
  await receiver.received(tenants)
  await insert(2)
  await receiver.received(2 * tenants)
  expect(await daemon.stop()).toBe(0)

  const delivered = deliveries(receiver.requests)
  for (const [index, { events }] of delivered.entries()) {
    expect(new Set(events.map(({ org_id }) => `/${org_id}`))).toEqual(
      new Set([receiver.requests[index]?.path]),
    )
  }
  const sent = delivered.flatMap(({ events }) => events.map(({ id }) => Number(id.slice('request:'.length))))
  expect(sent.sort((a, b) => a - b)).toEqual(
    orgs.flatMap((_, index) => [1, 2, 3].map((row) => tenants + 3 * index + row)),
  )
  const read = sentSpans(collector.requests).filter(({ name }) => name.startsWith('spillway.read_page'))
  const rows = read.reduce((sum, { attributes }) => sum + Number(attributes['spillway.page.rows']), 0)
  expect(rows, 'rows whose reading is on record').toBeGreaterThanOrEqual(3 * tenants)
  expect(read.length).toBeLessThan(tenants / 2)
})
