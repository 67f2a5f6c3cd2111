/** The daemon as a role that owns nothing, with the grants of docs/OPERATIONS.md and no others. */
import { randomBytes } from 'node:crypto'
import { expect, it } from 'vitest'
import { spillway } from '../integration/cli/spillway.ts'
import { account, nothingWrong } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { connect, whenDone } from '../support/postgres.ts'
import { Page } from '../support/recipes/page.ts'
import { createScene } from '../support/scene.ts'

it('delivers as a role that may change neither audit rows nor the record of what was not delivered', async () => {
  const { url, sql, receiver, write } = await createScene()
  const role = `runner_${randomBytes(4).toString('hex')}`
  whenDone(async () => void (await sql.unsafe(`DROP OWNED BY ${role}; DROP ROLE ${role}`)))
  const section = 'A role that owns nothing'
  const replace = { spillway_runner: role }
  await new Page({ path: 'OPERATIONS.md', section, sql, env: { DATABASE_URL: url }, replace }).finish()
  const own = new URL(url)
  own.username = role
  own.password = 'choose-one'

  const daemon = await startDaemon(own.href, { SPILLWAY_BACKOFF_SCHEDULE_MS: '100' })
  const id = await insertDestination(sql, { url: receiver.url, delivery: { batchSize: 5 } })
  // A failure and a replay write what else there is to write.
  receiver.reply({ status: 500 }, { status: 500 }, { status: 500 })
  await write(20)
  await settled(sql, id, null)
  await daemon.logged('destination.recovered')
  const args = ['replay', String(id), '--range', 'request', '0', '5']
  expect(await spillway(args, { env: { DATABASE_URL: own.href } })).toMatchObject({ code: 0 })
  await daemon.logged('replay.finished')
  const doctor = await spillway(['doctor', '--json'], { env: { DATABASE_URL: own.href } })
  expect(doctor.stdout).not.toContain('privileges.state')
  expect(await daemon.stop()).toBe(0)
  expect(daemon.lines.filter(({ level }) => level === 'error')).toEqual([])
  const live = receiver.requests.filter(({ headers }) => headers['spillway-replay'] === undefined)
  expect(await account(sql, live, null)).toMatchObject({ ...nothingWrong })

  const asRole = connect(own.href, 1)
  for (const forbidden of [
    'DELETE FROM spillway.request_audit_log',
    'UPDATE spillway.request_audit_log SET path = NULL',
    'DELETE FROM spillway.skipped_ranges',
    'DELETE FROM spillway.dead_letters',
    'DROP TABLE spillway.cursors',
  ]) {
    await expect(asRole.unsafe(forbidden), forbidden).rejects.toThrow(/permission denied|must be owner/)
  }
})
