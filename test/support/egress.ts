/** Receivers of the tests listen on this machine, which the daemon's HTTP client calls only where it is allowed to. */
import type { EgressAllow } from '../../src/egress/address-guard.ts'

export const loopback: EgressAllow = { cidrs: [{ address: '127.0.0.0', prefix: 8 }], hosts: [] }
