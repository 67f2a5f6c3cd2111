/** The clocks of this machine and of the databases, compared. */
import { systemClock } from '../../../clock.ts'
import type { Sql } from '../../../db/client.ts'
import { type Finding, fine, type Subject, warning } from '../finding.ts'
import type { Patient } from '../patient.ts'

/** How far a clock is ahead of ours; the true figure is `errorMs` more or less at most. */
interface Offset {
  readonly ms: number
  readonly errorMs: number
}

const samples = 3

export async function checkClocks({ state, source, limits }: Patient): Promise<Finding[]> {
  const stateOffset = await offsetOf(state.sql)
  const findings = compared(stateOffset, 'this machine', state.subject, limits.skewMs)
  if (source !== state) {
    const offset = await offsetOf(source.sql)
    findings.push(...compared(offset, 'this machine', source.subject, limits.skewMs))
    const between = {
      ms: offset.ms - stateOffset.ms,
      errorMs: offset.errorMs + stateOffset.errorMs,
    }
    findings.push(...compared(between, 'the state database', source.subject, limits.skewMs))
  }
  return findings
}

function compared({ ms, errorMs }: Offset, than: string, subject: Subject, limitMs: number): Finding[] {
  const seconds = `${(Math.abs(ms) / 1_000).toFixed(1)} s`
  if (Math.abs(ms) - errorMs <= limitMs) {
    return [fine('clock', subject, `Its clock agrees with that of ${than} (${seconds} apart).`)]
  }
  return [
    warning(
      'clock.skew',
      subject,
      `Its clock is ${seconds} ${ms > 0 ? 'ahead of' : 'behind'} that of ${than}.`,
      'Let both machines keep time by NTP (timedatectl set-ntp true).',
    ),
  ]
}

/** The quickest of a few answers: the longer one took, the less it says. */
async function offsetOf(sql: Sql): Promise<Offset> {
  let best: Offset | undefined
  for (let sample = 0; sample < samples; sample++) {
    const askedAt = systemClock.now()
    const [row] = await sql<{ now_ms: number }[]>`
      SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now_ms`
    const answeredAt = systemClock.now()
    const errorMs = (answeredAt - askedAt) / 2
    if (row && (best === undefined || errorMs < best.errorMs)) {
      best = { ms: row.now_ms - (askedAt + answeredAt) / 2, errorMs }
    }
  }
  if (!best) throw new Error('a statement without FROM returned no row')
  return best
}
