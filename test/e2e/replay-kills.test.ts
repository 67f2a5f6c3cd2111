/**
 * A replay with a refused event in it, killed at each of its steps: before and after each request is answered, before
 * and after each of its writes reaches the database. The steps are counted off until a run has no such step.
 */
import type postgres from 'postgres'
import { expect, it } from 'vitest'
import { briefLease, type DaemonProcess, startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { session } from '../support/postgres.ts'
import type { PlainReply, ReceivedRequest } from '../support/receiver.ts'
import { eventIds, insertRange, ofReplay, replayed, replayState } from '../support/replays.ts'
import { createScene, type Scene } from '../support/scene.ts'

const poison = 'request:6'
const good = [1, 2, 3, 4, 5, 7, 8].map((row) => `request:${row}`)

const answerOf = (request: ReceivedRequest): PlainReply => ({
  status: eventIds([request]).includes(poison) ? 422 : 200,
})
const isOfReplay = ({ headers }: ReceivedRequest) => headers['spillway-replay'] !== undefined

interface Stage extends Scene {
  readonly id: number
  daemon: DaemonProcess
}

/** Rows that were delivered, and a daemon. */
async function createStage(): Promise<Stage> {
  const scene = await createScene()
  const { url, sql, receiver, write } = scene
  const delivery = { batchSize: 4, interBatchDelayMs: 0 }
  const id = await insertDestination(sql, { url: receiver.url, delivery })
  await write(8)
  const daemon = await startDaemon(url, briefLease)
  await settled(sql, id, null)
  return { ...scene, id, daemon }
}

/** After the kill another daemon brings the replay to its end. */
async function goOn(stage: Stage, replay: number): Promise<void> {
  const { url, sql, receiver } = stage
  await stage.daemon.exited
  const before = await sql`SELECT position, frozen, life FROM spillway.cursors`
  receiver.always({ choose: answerOf })
  stage.daemon = await startDaemon(url, briefLease)
  expect(await replayed(sql, replay)).toMatchObject({
    state: 'done',
    events_expected: '8',
    events_sent: '7',
    events_refused: '1',
    events_missing: '0',
  })
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

const times = ['before', 'after'] as const

it.each(times)('is whole after a kill %s any request is answered', { timeout: 240_000 }, async (when) => {
  const stage = await createStage()
  const { sql, receiver, id } = stage
  for (let step = 1; ; step++) {
    let seen = 0
    const { daemon } = stage
    receiver.always({
      choose(request) {
        if (isOfReplay(request)) seen += 1
        if (!isOfReplay(request) || seen !== step) return answerOf(request)
        if (when === 'before') {
          daemon.kill('SIGKILL')
          return (response) => void response.destroy()
        }
        return (response) => {
          response.writeHead(answerOf(request).status ?? 200)
          response.end(() => daemon.kill('SIGKILL'))
        }
      },
    })
    const replay = await insertRange(sql, id, 0, 8)
    await Promise.race([daemon.exited, replayed(sql, replay)])
    if (seen < step) {
      expect(step).toBeGreaterThan(5)
      return
    }
    await goOn(stage, replay)
  }
})

/** Stops the write of a replay that `held` says, counted from the last setval, before it is committed. */
async function holdWrites(sql: postgres.Sql): Promise<void> {
  await sql.unsafe(`
    CREATE SEQUENCE public.writes;
    CREATE TABLE public.held AS SELECT 0 AS step;
    CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
      IF nextval('public.writes') = (SELECT step FROM public.held) THEN PERFORM pg_advisory_xact_lock(777); END IF;
      RETURN NULL;
    END $$;
    CREATE TRIGGER hold AFTER INSERT OR UPDATE ON spillway.replay_ranges FOR EACH ROW EXECUTE FUNCTION public.hold();
    CREATE TRIGGER hold AFTER UPDATE ON spillway.replays FOR EACH ROW EXECUTE FUNCTION public.hold()`)
}

const waiting = `
  SELECT pid FROM pg_locks
  WHERE locktype = 'advisory' AND objid = 777 AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

it.each(times)('is whole after a kill %s any write', { timeout: 240_000 }, async (when) => {
  const stage = await createStage()
  const { url, sql, receiver, id } = stage
  const holder = session(url)
  receiver.always({ choose: answerOf })
  await holdWrites(sql)
  for (let step = 1; ; step++) {
    await sql`SELECT setval('public.writes', 1, false)`
    await sql`UPDATE public.held SET step = ${step}`
    await holder`SELECT pg_advisory_lock(777)`
    const replay = await insertRange(sql, id, 0, 8)
    let held: number | undefined
    let isOver = false
    while (held === undefined && !isOver) {
      await sql`SELECT pg_sleep(0.02)`
      held = (await sql.unsafe(waiting))[0]?.pid
      isOver = (await replayState(sql, replay)).finished_at !== null
    }
    if (held === undefined) {
      expect(step).toBeGreaterThan(10)
      await holder`SELECT pg_advisory_unlock(777)`
      return
    }
    stage.daemon.kill('SIGKILL')
    await stage.daemon.exited
    await sql`UPDATE public.held SET step = 0`
    if (when === 'before') await sql`SELECT pg_terminate_backend(${held}::int)`
    await holder`SELECT pg_advisory_unlock(777)`
    await expect.poll(async () => (await sql.unsafe(waiting)).length).toBe(0)
    await goOn(stage, replay)
  }
})
