/**
 * A replay with a refused event in it, killed at each of its steps: before and after each request is answered, before
 * and after each of its writes reaches the database. The steps are counted off until a run has no such step.
 */
import type postgres from 'postgres'
import { expect, it } from 'vitest'
import { type DaemonProcess, startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { session } from '../support/postgres.ts'
import type { ReceivedRequest, Reply } from '../support/receiver.ts'
import { eventIds, insertRange, ofReplay, replayed } from '../support/replays.ts'
import { createScene, type Scene } from '../support/scene.ts'

const poison = 'request:6'
const good = [1, 2, 3, 4, 5, 7, 8].map((row) => `request:${row}`)

const answerOf = (request: ReceivedRequest): Reply => ({
  status: eventIds([request]).includes(poison) ? 422 : 200,
})
const isOfReplay = ({ headers }: ReceivedRequest) => headers['spillway-replay'] !== undefined

/** Rows that were delivered, and a replay of them that waits. */
async function prepare(scene: Scene): Promise<{ daemon: DaemonProcess; replay(): Promise<number> }> {
  const { url, sql, receiver, write } = scene
  const delivery = { batchSize: 4, interBatchDelayMs: 0 }
  const id = await insertDestination(sql, { url: receiver.url, delivery })
  await write(8)
  const daemon = await startDaemon(url)
  await settled(sql, id, null)
  return { daemon, replay: () => insertRange(sql, id, 0, 8) }
}

async function goOn({ url, sql, receiver }: Scene, killed: DaemonProcess, replay: number): Promise<void> {
  await killed.exited
  const before = await sql`SELECT position, frozen, life FROM spillway.cursors`
  receiver.always({ choose: answerOf })
  const daemon = await startDaemon(url)
  expect(await replayed(sql, replay)).toMatchObject({
    state: 'done',
    events_expected: '8',
    events_sent: '7',
    events_refused: '1',
    events_missing: '0',
  })
  expect(await daemon.stop()).toBe(0)
  expect(await sql`SELECT position, frozen, life FROM spillway.cursors`).toEqual(before)
  expect(await sql`SELECT event_id, resolved_at FROM spillway.dead_letters`).toEqual([
    { event_id: poison, resolved_at: null },
  ])
  expectOnceAt(ofReplay(receiver.requests, replay))
}

/** Each event arrived; what came again came under the same id, with the same bytes. */
function expectOnceAt(requests: readonly ReceivedRequest[]): void {
  const batchOf = new Map<string, string>()
  const bodyOf = new Map<string, string>()
  for (const request of requests) {
    const batch = request.headers['webhook-id'] ?? ''
    const body = request.body.toString()
    expect(bodyOf.get(batch) ?? body).toBe(body)
    bodyOf.set(batch, body)
    const events = eventIds([request])
    if (events.includes(poison)) continue
    for (const event of events) {
      expect([event, batchOf.get(event) ?? batch]).toEqual([event, batch])
      batchOf.set(event, batch)
    }
  }
  expect([...batchOf.keys()].toSorted()).toEqual(good)
}

it.each(['before', 'after'] as const)(
  'is whole after a kill %s any request is answered',
  async (when) => {
    for (let step = 1; ; step++) {
      const scene = await createScene()
      const { sql, receiver } = scene
      const { daemon, replay } = await prepare(scene)
      let seen = 0
      receiver.always({
        choose(request) {
          if (isOfReplay(request)) seen += 1
          if (!isOfReplay(request) || seen !== step) return answerOf(request)
          if (when === 'before') {
            daemon.kill('SIGKILL')
            return (response) => void response.destroy()
          }
          const { status = 200 } = answerOf(request) as { status?: number }
          return (response) => {
            response.writeHead(status)
            response.end(() => daemon.kill('SIGKILL'))
          }
        },
      })
      const id = await replay()
      const state = await Promise.race([daemon.exited, replayed(sql, id)])
      if (state !== null && typeof state === 'object') {
        // The kill of the last answer may come when all is done.
        expect(step).toBeGreaterThan(5)
        if (seen < step) return
      }
      await goOn(scene, daemon, id)
      await sql.end()
    }
  },
  240_000,
)

/** Stops the n-th write of a replay in its tracks, before it is committed. */
async function holdWrite(sql: postgres.Sql, step: number): Promise<void> {
  await sql.unsafe(`
    CREATE SEQUENCE public.writes;
    CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
      IF nextval('public.writes') = ${step} THEN PERFORM pg_advisory_xact_lock(777); END IF;
      RETURN NULL;
    END $$;
    CREATE TRIGGER hold AFTER INSERT OR UPDATE ON spillway.replay_ranges FOR EACH ROW EXECUTE FUNCTION public.hold();
    CREATE TRIGGER hold AFTER UPDATE ON spillway.replays FOR EACH ROW EXECUTE FUNCTION public.hold()`)
}

const waiting = `
  SELECT pid FROM pg_locks
  WHERE locktype = 'advisory' AND objid = 777 AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

it.each(['before', 'after'] as const)(
  'is whole after a kill %s any write',
  async (when) => {
    for (let step = 1; ; step++) {
      const scene = await createScene()
      const { url, sql, receiver } = scene
      const { daemon, replay } = await prepare(scene)
      receiver.always({ choose: answerOf })
      await holdWrite(sql, step)
      const holder = session(url)
      await holder`SELECT pg_advisory_lock(777)`
      const id = await replay()
      const ended = replayed(sql, id)
      let held: string | undefined
      for (;;) {
        const [row] = await sql.unsafe(waiting)
        held = row?.pid
        if (held !== undefined || (await Promise.race([ended, sql`SELECT pg_sleep(0.02)`.then(() => null)])))
          break
      }
      if (held === undefined) {
        expect(step).toBeGreaterThan(10)
        return
      }
      daemon.kill('SIGKILL')
      await daemon.exited
      if (when === 'before') await sql`SELECT pg_terminate_backend(${held}::int)`
      await holder`SELECT pg_advisory_unlock(777)`
      await expect.poll(async () => (await sql.unsafe(waiting)).length).toBe(0)
      await sql`ALTER TABLE spillway.replays DISABLE TRIGGER hold`
      await sql`ALTER TABLE spillway.replay_ranges DISABLE TRIGGER hold`
      await goOn(scene, daemon, id)
      await ended
      await sql.end()
    }
  },
  240_000,
)
