/**
 * Which addresses the daemon may connect to. Customers write the URLs, so without a guard a row in a table
 * would reach whatever the daemon's own network can reach. Pure, apart from the resolver that is handed in.
 *
 * - Public addresses are open. Everything else is closed: loopback, private and link-local networks,
 *   CGNAT, multicast, documentation, and all of IPv6 outside 2000::/3.
 * - The operator opens ranges and host names (`SPILLWAY_EGRESS_ALLOW`). A listed name may lead to any
 *   address but those of metadata services.
 * - The metadata services of clouds hand out credentials. Their addresses open only when each is listed as
 *   itself; no wider range and no host name opens one.
 * - An IPv6 address that carries an IPv4 address is closed if what it carries is.
 *
 * A refusal names the host as the URL has it and never the address it led to: the message is shown to
 * customers, and must not tell them what the operator's name servers know.
 */
import { isIP, type LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import { HttpFailure } from '../../providers/provider.ts'

/** What may be reached besides public addresses. */
export interface EgressAllow {
  readonly cidrs: readonly { readonly address: string; readonly prefix: number }[]
  /** Lower-case host names, matched as a whole. */
  readonly hosts: readonly string[]
}

type Address = ipaddr.IPv4 | ipaddr.IPv6

/** As ipaddr.js writes them. */
const metadataAddresses: ReadonlySet<string> = new Set([
  // AWS, Google, Azure, Oracle, DigitalOcean, Hetzner, OpenStack and most others
  '169.254.169.254',
  // AWS: IPv6, credentials of ECS tasks, credentials of EKS pods
  'fd00:ec2::254',
  '169.254.170.2',
  '169.254.170.23',
  'fd00:ec2::23',
  // Google, IPv6
  'fd20:ce::254',
  // Azure's host agent. In a public range
  '168.63.129.16',
  // Alibaba
  '100.100.100.200',
  // Oracle: the older address, and IPv6
  '192.0.0.192',
  'fd00:c1::a9fe:a9fe',
  // OpenStack, IPv6
  'fe80::a9fe:a9fe',
  // Tencent
  '169.254.0.23',
  // Scaleway
  '169.254.42.42',
  'fd00:42::42',
  // Akamai (Linode), IPv6
  'fd00:a9fe:a9fe::1',
])

/** For the way through a proxy, where nobody here sees the address. */
const metadataNames: ReadonlySet<string> = new Set([
  'instance-data',
  'instance-data.ec2.internal',
  'metadata',
  'metadata.azure.internal',
  'metadata.goog',
  'metadata.google.internal',
  'metadata.tencentyun.com',
])

/** All of IPv6 that IANA has given out for the public so far. */
const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3')

/** DNS names end here, and what is longer does not make a message any clearer. */
const longestShownHost = 253

export class AddressGuard {
  readonly #singles: ReadonlySet<string>
  readonly #ranges: readonly (readonly [Address, number])[]
  readonly #hosts: ReadonlySet<string>

  constructor({ cidrs, hosts }: EgressAllow) {
    const ranges = cidrs.map(({ address, prefix }) => plainRange(address, prefix))
    const isSingle = ([address, prefix]: readonly [Address, number]) => prefix === bitsOf(address)
    this.#singles = new Set(ranges.filter(isSingle).map(([address]) => address.toString()))
    this.#ranges = ranges
    this.#hosts = new Set(hosts.map(plainHost))
  }

  /** Why `address`, to which `host` led, must not be called. `host` is a name or the address itself. */
  refusal(host: string, address: string): HttpFailure | undefined {
    const parsed = parseAddress(address)
    const listed = this.#hosts.has(plainHost(host))
    if (parsed !== undefined && this.#permits(parsed, listed)) return undefined
    if (!isLiteral(host)) return refused(nameSentence(host, listed))
    return refused(parsed && isMetadata(parsed) ? metadataSentence(host) : literalSentence(host))
  }

  /** Why the connection cannot even be begun: the host is an address, written out, that is closed. */
  refusalOfLiteral(host: string): HttpFailure | undefined {
    return isLiteral(host) ? this.refusal(host, host) : undefined
  }

  /**
   * The same for the way through a proxy, which resolves names itself: of these only such can be judged that
   * mean the proxy's own machine or its cloud wherever they are resolved.
   */
  refusalThroughProxy(host: string): HttpFailure | undefined {
    if (isLiteral(host)) return this.refusal(host, host)
    const name = plainHost(host)
    if (metadataNames.has(name)) return refused(metadataSentence(host))
    const isLocal = name === 'localhost' || name.endsWith('.localhost')
    return isLocal && !this.#hosts.has(name) ? refused(nameSentence(host, false)) : undefined
  }

  #permits(address: Address, hostListed: boolean): boolean {
    if (this.#singles.has(address.toString())) return true
    if (isMetadata(address)) return false
    const carried = carriedAddress(address)
    if (carried !== undefined && !this.#permits(carried, hostListed)) return false
    return hostListed || isPublic(address) || this.#ranges.some((range) => isWithin(address, range))
  }
}

/**
 * A resolver for sockets that fails when any of a name's addresses is closed: which one a socket takes is
 * not ours to say. The socket connects to what was judged here; the name is not resolved again.
 */
export function guardedLookup(guard: AddressGuard, resolve: LookupFunction): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, found) => {
      // A copy: what is judged is what is handed on.
      const addresses = Array.isArray(found) ? found.map(({ address, family }) => ({ address, family })) : []
      const [first] = addresses
      const failure = error ?? (first === undefined ? notFound() : refusalOfAny(guard, hostname, addresses))
      if (failure || first === undefined) callback(failure ?? notFound(), [])
      else if (options.all) callback(null, addresses)
      else callback(null, first.address, first.family)
    })
  }
}

function refusalOfAny(
  guard: AddressGuard,
  hostname: string,
  addresses: readonly { readonly address: string }[],
): HttpFailure | undefined {
  for (const { address } of addresses) {
    const refusal = guard.refusal(hostname, address)
    if (refusal) return refusal
  }
  return undefined
}

const notFound = () => Object.assign(new Error('The name has no address.'), { code: 'ENOTFOUND' })

/** A host without brackets, the root's dot, or capitals. */
export function plainHost(host: string): string {
  return host
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '')
    .toLowerCase()
}

/**
 * What a socket would connect to without asking a resolver. Other spellings (`0x7f.1`) are made to these by
 * `URL`; one that still came through would go to the resolver, and its result is judged.
 */
const isLiteral = (host: string) => isIP(plainHost(host)) !== 0

/**
 * A mapped address (::ffff:…) is the IPv4 address it maps. A zone names an interface of this machine and
 * changes no range. Undefined for what cannot be read, which is closed.
 */
function parseAddress(text: string): Address | undefined {
  const bare = plainHost(text).replace(/%.*$/, '')
  return isIP(bare) !== 0 && ipaddr.isValid(bare) ? ipaddr.process(bare) : undefined
}

function isPublic(address: Address): boolean {
  return address.range() === 'unicast' && (isV4(address) || address.match(globalUnicast))
}

const isMetadata = (address: Address) => metadataAddresses.has(address.toString())
const isV4 = (address: Address): address is ipaddr.IPv4 => address.kind() === 'ipv4'
const bitsOf = (address: Address) => (isV4(address) ? 32 : 128)

function isWithin(address: Address, [base, prefix]: readonly [Address, number]): boolean {
  if (isV4(address)) return isV4(base) && address.match(base, prefix)
  return !isV4(base) && address.match(base, prefix)
}

/** A range of mapped addresses is the range of IPv4 addresses that they map. */
function plainRange(address: string, prefix: number): readonly [Address, number] {
  const parsed = ipaddr.parse(address)
  if (isV4(parsed) || !parsed.isIPv4MappedAddress() || prefix < 96) return [parsed, prefix]
  return [parsed.toIPv4Address(), prefix - 96]
}

/** The IPv4 address to which a translator or a tunnel would take it. */
function carriedAddress(address: Address): ipaddr.IPv4 | undefined {
  if (isV4(address)) return undefined
  const bytes = address.toByteArray()
  const at = (index: number) => new ipaddr.IPv4(bytes.slice(index, index + 4))
  switch (address.range()) {
    // NAT64 (64:ff9b::/96) and SIIT (::ffff:0:0:0/96)
    case 'rfc6052':
    case 'rfc6145':
      return at(12)
    case '6to4':
      return at(2)
    case 'teredo':
      return new ipaddr.IPv4(bytes.slice(12).map((byte) => byte ^ 255))
    case 'unicast':
      // "IPv4-compatible", long given up: ::a.b.c.d
      return bytes.slice(0, 12).every((byte) => byte === 0) ? at(12) : undefined
    default:
      return undefined
  }
}

const refused = (sentence: string) => new HttpFailure('address_refused', sentence)

const literalSentence = (host: string) =>
  `${shown(host)} is not a public address; the operator may allow it with SPILLWAY_EGRESS_ALLOW.`

const metadataSentence = (host: string) =>
  `${shown(host)} is a cloud's metadata service; nothing but its exact address in SPILLWAY_EGRESS_ALLOW opens it.`

/** Of a listed name the operator has to learn why that was not enough. */
function nameSentence(host: string, listed: boolean): string {
  return listed
    ? `${shown(host)} leads to a cloud's metadata service; nothing but its exact address in SPILLWAY_EGRESS_ALLOW opens it.`
    : `${shown(host)} does not lead to public addresses only; the operator may allow it with SPILLWAY_EGRESS_ALLOW.`
}

function shown(host: string): string {
  const text = host.length > longestShownHost ? `${host.slice(0, longestShownHost)}…` : host
  return text.includes(':') && !text.startsWith('[') ? `[${text}]` : text
}
