import { quoteJson } from './json-text.ts'
import type { AuditEvent } from './provider.ts'

/**
 * The event on the wire (DESIGN §5), on one line. It is built around the row's text and never parsed, so
 * numbers of any length travel digit for digit.
 */
export function envelope(event: AuditEvent): string {
  const { id, logType, timestamp, orgId } = event
  const head = `{"id":${quoteJson(id)},"event":${quoteJson(logType)},"timestamp":${quoteJson(timestamp)}`
  const tail = `,"org_id":${orgId === null ? 'null' : quoteJson(orgId)},"data":${event.dataJson}}`
  // Asked of the whole, which is made one piece by it: asked of the row alone, a row of a megabyte would be copied twice.
  return oneLine(head + tail)
}

/**
 * JSON text without line breaks. PostgreSQL keeps a `json` column's white space as it was written; a line
 * break there would tear an NDJSON line in two. A raw one never lies inside a JSON string, so a space does.
 */
export function oneLine(json: string): string {
  return json.includes('\n') || json.includes('\r') ? json.replaceAll(/[\r\n]/g, ' ') : json
}
