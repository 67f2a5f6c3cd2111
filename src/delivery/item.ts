/** What a stream has read, encoded as it arrived. */
import type { AuditEvent, EncodedEvent } from '../../providers/provider.ts'
import type { ReadRow } from '../sources/page.ts'
import type { Position } from '../sources/position.ts'

/** An event that waits to be sent, or a gap that deleted rows have left. */
export type Item = EventItem | Gap

export interface EventItem {
  readonly kind: 'event'
  readonly position: Position
  readonly event: EncodedEvent
  readonly timestampMs: number
  /** An earlier item has the same position and event id. */
  readonly isDuplicate?: true
}

/** Rows after `from` up to and including `position` may have been deleted before they were sent. */
export interface Gap {
  readonly kind: 'gap'
  readonly from: Position
  readonly position: Position
}

/** `now` in epoch milliseconds. */
export function itemOf(
  { position, event, oversizeBytes, isDuplicate }: ReadRow,
  encode: (event: AuditEvent, now: number) => string,
  now: number,
): EventItem {
  // As bytes they are outside of V8's heap, where no collection of garbage carries them about.
  const body = Buffer.from(oversizeBytes === undefined ? encode(event, now) : '')
  return {
    kind: 'event',
    position,
    event: { id: event.id, body, bytes: oversizeBytes ?? body.length },
    timestampMs: event.timestampMs,
    ...(isDuplicate ? { isDuplicate } : {}),
  }
}

/** The room that an item takes; a row that was too large to be fetched takes none. */
export function heldBytes(item: Item): number {
  return item.kind === 'gap' ? 0 : item.event.body.length
}
