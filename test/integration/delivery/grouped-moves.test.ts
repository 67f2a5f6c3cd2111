/** Moves of many cursors in one statement do to each what a move alone does, and hold up nobody. */
import postgres from 'postgres'
import { beforeEach, describe, expect, test } from 'vitest'
import type { CursorMove } from '../../../src/delivery/cursor-move.ts'
import { CursorMoves } from '../../../src/delivery/cursor-moves.ts'
import { FleetStore } from '../../../src/delivery/fleet-store.ts'
import type { Lease } from '../../../src/delivery/lease.ts'
import { DeliveryStore } from '../../../src/delivery/store.ts'
import { LeaseLostError } from '../../../src/errors.ts'
import { holdLease } from '../../support/leases.ts'
import { cursorMove } from '../../support/moves.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { makeSource, type OwnSource, session } from '../schema/rows.ts'

const database = await createTestDatabase()
const { sql } = database
/** What the stores have asked of the database. */
let statements: string[] = []
const stores = postgres(database.url, {
  max: 8,
  onnotice: () => {},
  debug: (_connection, statement) => statements.push(statement),
})
whenDone(() => stores.end())
const shardCount = 64
let leases: readonly Lease[]
let source: OwnSource
let ids: number[]

const rest = { position: '0', frozen: [] }

beforeEach(async () => {
  leases = await Promise.all(Array.from({ length: shardCount }, (_, shard) => holdLease(sql, shard)))
  source = await makeSource(database)
  ids = []
  for (let n = 0; n < 100; n++) ids.push(await source.destination())
  statements = []
})

async function moverOf(store: (lease: Lease) => DeliveryStore) {
  const states = await new FleetStore(sql).load(ids)
  const shards = await sql<{ id: string; shard: number }[]>`
    SELECT id, spillway.shard_of(id) AS shard FROM spillway.destinations WHERE id = ANY(${ids})`
  const shardOf = new Map(shards.map(({ id, shard }) => [Number(id), shard]))
  return {
    shardOf,
    move(id: number, changes: Partial<CursorMove> = {}, lease = leases[shardOf.get(id) ?? -1]) {
      if (!lease) throw new Error(`no lease for ${id}`)
      const { logType } = source
      const life = states.get(id)?.cursors.get(logType)?.life ?? ''
      return store(lease).move(cursorMove({ destinationId: id, logType, life }, { accepted: 1, ...changes }))
    },
  }
}

const grouped = () => {
  const fleet = new FleetStore(stores)
  return moverOf((lease) => fleet.under(lease))
}

const cursorsAt = (among: readonly number[] = ids) =>
  sql<{ position: string; frozen: string[] }[]>`
    SELECT position, frozen FROM spillway.cursors WHERE destination_id = ANY(${[...among]}) ORDER BY destination_id`

test('a hundred moves of one moment are a few statements', async () => {
  const { move } = await grouped()
  await Promise.all(ids.map((id) => move(id, { frozen: ['20'], accepted: id })))
  expect(statements.length).toBeLessThan(5)
  expect(await cursorsAt()).toEqual(ids.map(() => ({ position: '10', frozen: ['20'] })))
  const delivered = await sql<{ events: number }[]>`
    SELECT events_delivered::int AS events FROM spillway.delivery_state WHERE destination_id = ANY(${ids}) ORDER BY destination_id`
  expect(delivered.map(({ events }) => events)).toEqual(ids)
})

test('a group waits for the disk when one of it has to, and else does not', async () => {
  await sql.unsafe(`
    CREATE TABLE public.commits (destination_id bigint, waits text);
    CREATE FUNCTION public.note_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO public.commits VALUES (NEW.destination_id, current_setting('synchronous_commit'));
      RETURN NEW;
    END $$;
    CREATE TRIGGER note_commit BEFORE UPDATE ON spillway.cursors FOR EACH ROW EXECUTE FUNCTION public.note_commit()`)
  const { move } = await grouped()
  const [first = 0, second = 0, third = 0, fourth = 0] = ids
  await Promise.all([move(first), move(second)])
  await Promise.all([move(third, { durable: true }), move(fourth)])
  await sql.unsafe('DROP TRIGGER note_commit ON spillway.cursors')
  const commits = await sql<{ id: number; waits: string }[]>`
    SELECT destination_id::int AS id, waits FROM public.commits ORDER BY id`
  expect(commits).toEqual([
    { id: first, waits: 'off' },
    { id: second, waits: 'off' },
    { id: third, waits: 'on' },
    { id: fourth, waits: 'on' },
  ])
})

describe('a move in a group', () => {
  const moves: readonly Partial<CursorMove>[] = [
    { accepted: 0, frozen: ['12', '15'], to: '0', durable: true },
    { accepted: 3, divided: { to: '20', accepted: true }, frozen: ['15', '20'] },
    { accepted: 5, frozen: ['5-x"\\,{}', 'NULL'] },
    { accepted: 0, to: '7' },
  ]
  test.each(['active', 'backing_off', 'unauthorized', 'disabled', 'invalid'])(
    'does what a move alone does, for a destination that is %s',
    async (status) => {
      await sql`
        UPDATE spillway.delivery_state SET status = ${status}, consecutive_failures = 3, first_failed_at = now(),
          next_attempt_at = now() WHERE destination_id = ANY(${ids})`
      const alone = await moverOf((lease) => new DeliveryStore(sql, new CursorMovesNever(sql), lease))
      const together = await grouped()
      const [half, others] = [ids.slice(0, moves.length), ids.slice(moves.length, 2 * moves.length)]
      await Promise.all(half.map((id, index) => alone.move(id, moves[index])))
      await Promise.all(others.map((id, index) => together.move(id, moves[index])))
      const seen = (among: readonly number[]) => sql`
        SELECT c.position, c.frozen, c.divided_to, c.divided_accepted, s.status, s.consecutive_failures,
               s.first_failed_at IS NULL AS mended, s.next_attempt_at IS NULL AS due, s.last_success_at IS NULL AS never,
               s.events_delivered, s.batches_delivered, s.events_skipped
        FROM spillway.cursors c JOIN spillway.delivery_state s USING (destination_id)
        WHERE destination_id = ANY(${[...among]}) ORDER BY destination_id`
      expect(await seen(others)).toEqual(await seen(half))
      expect(statements.some((statement) => statement.includes('ledger'))).toBe(false)
    },
  )

  test('is refused where the cursor stands elsewhere, has other frozen ends or another life, and spoils no other', async () => {
    const { move } = await grouped()
    const [a = 0, b = 0, c = 0, d = 0] = ids
    const results = await Promise.allSettled([
      move(a, { from: '3' }),
      move(b, { fromFrozen: ['4'] }),
      move(c, { life: '00000000-0000-4000-8000-000000000000' }),
      move(d),
    ])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected', 'fulfilled'])
    for (const result of results.slice(0, 3))
      expect(result).toHaveProperty('reason', expect.any(LeaseLostError))
    expect(await cursorsAt([a, b, c])).toEqual([rest, rest, rest])
  })

  test('is refused under an epoch that is over, also beside one under that which is not', async () => {
    const { move, shardOf } = await grouped()
    const [id = 0] = ids
    const neighbour = ids.find((other) => other !== id && shardOf.get(other) === shardOf.get(id)) ?? 0
    const stale = leases[shardOf.get(id) ?? -1]
    const current = await holdLease(sql, shardOf.get(id) ?? -1)
    const [late, held] = await Promise.allSettled([move(id, {}, stale), move(neighbour, {}, current)])
    expect(late).toHaveProperty('reason', expect.any(LeaseLostError))
    expect(held.status).toBe('fulfilled')
    expect(await cursorsAt([id])).toEqual([rest])
  })

  test('that is repeated finds its own work done, and counts once', async () => {
    const { move } = await grouped()
    await Promise.all(ids.map((id) => move(id, { accepted: 2 })))
    await Promise.all(ids.map((id) => move(id, { accepted: 2 })))
    expect(
      await sql`SELECT DISTINCT events_delivered::int AS events FROM spillway.delivery_state WHERE destination_id = ANY(${ids})`,
    ).toEqual([{ events: 2 }])
  })

  test.each([
    ['cursor', 'SELECT FROM spillway.cursors WHERE destination_id = $1 FOR UPDATE'],
    ['state', 'SELECT FROM spillway.delivery_state WHERE destination_id = $1 FOR UPDATE'],
    ['lease', 'SELECT FROM spillway.leases WHERE shard = spillway.shard_of($1) FOR UPDATE'],
  ])('waits for a %s that is locked, and the others do not', async (_, lock) => {
    const { move, shardOf } = await grouped()
    const [id = 0, ...others] = ids
    const elsewhere = others.filter((other) => shardOf.get(other) !== shardOf.get(id))
    const blocker = session(database)
    await blocker`BEGIN`
    await blocker.unsafe(lock, [id])
    let isDone = false
    const locked = move(id).then(() => {
      isDone = true
    })
    await Promise.all(elsewhere.map((other) => move(other)))
    expect(isDone).toBe(false)
    expect(await cursorsAt(elsewhere)).toEqual(elsewhere.map(() => ({ position: '10', frozen: [] })))
    await blocker`COMMIT`
    await locked
    expect(await cursorsAt([id])).toEqual([{ position: '10', frozen: [] }])
  })
})

/** Takes nobody along. */
class CursorMovesNever extends CursorMoves {
  override async make(): Promise<boolean> {
    return false
  }
}
