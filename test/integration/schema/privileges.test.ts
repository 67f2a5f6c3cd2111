import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { migrate } from '../../../src/db/migrate.ts'
import { createTestDatabase } from '../../support/postgres.ts'

test('a role that may create the schema once needs no more than that to start again', async () => {
  const { url, sql } = await createTestDatabase({ empty: true })
  const role = `daemon_${randomBytes(4).toString('hex')}`
  const database = new URL(url).pathname.slice(1)
  await sql.unsafe(
    `CREATE ROLE ${role} LOGIN PASSWORD 'secret'; GRANT CREATE ON DATABASE ${database} TO ${role}`,
  )
  const own = new URL(url)
  own.username = role
  own.password = 'secret'
  try {
    expect((await migrate(own.href)).applied).not.toEqual([])
    await sql.unsafe(`REVOKE CREATE ON DATABASE ${database} FROM ${role}`)
    expect((await migrate(own.href)).applied).toEqual([])
  } finally {
    await sql.unsafe(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`)
  }
})
