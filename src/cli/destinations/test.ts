/**
 * `spillway destinations test`: opens the destination's sender as the daemon would and sends one synthetic
 * event. Reads the destination's row and writes nothing: neither cursors nor delivery_state know of it.
 */
import { randomUUID } from 'node:crypto'
import type { AuditEvent, Configured, EncodedBatch, Outcome } from '../../../providers/provider.ts'
import { systemClock } from '../../clock.ts'
import type { Config } from '../../config.ts'
import { type Destination, parseDestination } from '../../destinations/destination.ts'
import { createHttpClient } from '../../egress/http-client.ts'
import { type AddCommand, CommandError, CommandFailed, writeJson, writeLine } from '../command.ts'
import { withSession } from '../session.ts'
import { printable } from '../table.ts'
import { findDestination } from './find.ts'
import { judged, readRules } from './rules.ts'

const afterHelp = `
The event looks like a real one to whatever receives it: its \`event\` is the destination's first log type
and its \`org_id\` the destination's. Its id, <log type>:test-<uuid>, is no row's, and its \`data\` is
{"test": true, "message": …}.

The environment counts as it does for the daemon: SPILLWAY_EGRESS_ALLOW, SPILLWAY_EGRESS_PROXY and
SPILLWAY_REQUEST_TIMEOUT_MS should be the daemon's. Cursors and the state that \`destinations list\` shows stay as they are. A disabled destination can be tested.
Exit code 0 only if the event was accepted.`

export const addTest: AddCommand = (group, { env, stdout, signal }) => {
  group
    .command('test')
    .description('send one event that is marked as a test, and say what came of it')
    .argument('<id or name>', 'the destination')
    .option('--json', 'print JSON')
    .addHelpText('after', afterHelp)
    .action(async (idOrName: string, { json }: { json?: true }) => {
      const { destination, config } = await withSession(env, async ({ sql, config }) => {
        const row = await findDestination(sql, idOrName)
        const rules = await readRules(sql, config)
        return { destination: judged(() => parseDestination(row, rules)), config }
      })
      const event = testEvent(destination, new Date(systemClock.now()))
      const batch = testBatch(event, destination.configured)
      const began = systemClock.monotonic()
      const outcome = ofOneEvent(await send(destination.configured, batch, config, signal))
      const durationMs = Math.round(systemClock.monotonic() - began)
      const reason = outcome.kind === 'accepted' ? undefined : outcome.reason
      if (json) {
        writeJson(stdout, {
          destination: { id: destination.id, name: destination.name, type: destination.type },
          event_id: event.id,
          outcome: outcome.kind,
          reason: reason?.code ?? null,
          status: reason?.status ?? null,
          message: reason?.message ?? null,
          duration_ms: durationMs,
        })
      } else {
        writeLine(
          stdout,
          printable(`Sent ${event.id} to destination ${destination.id} (${destination.name}).`),
        )
        writeLine(stdout, `Outcome: ${outcome.kind} after ${durationMs} ms.`)
        if (reason) writeLine(stdout, printable(reason.message))
      }
      if (reason) throw new CommandFailed()
    })
}

export function testEvent(
  { logTypes, orgId }: Pick<Destination, 'logTypes' | 'orgId'>,
  now: Date,
): AuditEvent {
  const logType = logTypes[0] ?? 'test'
  return {
    id: `${logType}:test-${randomUUID()}`,
    logType,
    timestamp: now.toISOString(),
    timestampMs: now.getTime(),
    orgId,
    dataJson: JSON.stringify({
      test: true,
      message: 'A test event sent by `spillway destinations test`. It stands for no row.',
    }),
  }
}

function testBatch(event: AuditEvent, configured: Configured): EncodedBatch {
  const body = Buffer.from(configured.encode(event, event.timestampMs))
  // Like the daemon's ids, without a dot; never equal to one of them.
  const id = `batch_test_${randomUUID().replaceAll('-', '')}`
  return {
    id,
    logType: event.logType,
    events: [{ id: event.id, body, bytes: body.length }],
    eventBatchId: () => id,
  }
}

async function send(
  configured: Configured,
  batch: EncodedBatch,
  { requestTimeoutMs, egressAllow, egressProxy }: Config,
  signal: AbortSignal,
): Promise<Outcome> {
  const http = createHttpClient({ allow: egressAllow, proxy: egressProxy })
  try {
    const sender = configured.open({ http, now: systemClock.now, requestTimeoutMs })
    try {
      return await sender.send(batch, signal)
    } finally {
      await sender.close()
    }
  } catch (error) {
    if (!signal.aborted) throw error
    throw new CommandError('Interrupted before the receiver answered.', 'It may have got the event.')
  } finally {
    await http.close()
  }
}

/** Where its only event is refused, a partial outcome is that refusal. */
function ofOneEvent(outcome: Outcome): Exclude<Outcome, { kind: 'partial' }> {
  if (outcome.kind !== 'partial') return outcome
  return outcome.refused[0]?.outcome ?? { kind: 'accepted' }
}
