/** Why a delivery failed, as the fields of events and the labels of metrics name it: a bounded set. */
import type { ReasonCode } from '../../../providers/provider.ts'

/** A record, so that a new code in the contract has to be added here. */
const known: Record<ReasonCode, true> = {
  http_status: true,
  redirect: true,
  malformed_answer: true,
  timeout: true,
  connection_refused: true,
  connection_reset: true,
  dns: true,
  tls: true,
  network: true,
  address_refused: true,
  egress_proxy: true,
  event_too_large: true,
  duplicate_id: true,
}

/** The cast: `Object.keys` forgets which keys they are. */
export const reasonCodes = Object.keys(known) as ReasonCode[]
