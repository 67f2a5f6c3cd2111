import type { LookupAddress } from 'node:dns'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseConfig } from '../../../src/config.ts'
import { AddressGuard, guardedLookup } from '../../../src/egress/address-guard.ts'
import { seedOf } from '../../support/random.ts'
import { closedHosts, noHosts, openHosts } from './spellings.ts'

const seed = seedOf()

/** As the operator writes it. */
const allowing = (text: string) => new AddressGuard(parseConfig({ SPILLWAY_EGRESS_ALLOW: text }).egressAllow)
const strict = allowing('')

/** What the client is handed: the host after URL has read it. */
const hostIn = (host: string) => new URL(`https://${host}/`).hostname

describe('without an allowance', () => {
  it.each(closedHosts)('%s is refused', (host) => {
    expect(strict.refusalOfLiteral(hostIn(host))).toMatchObject({
      name: 'HttpFailure',
      code: 'address_refused',
    })
    expect(strict.refusalThroughProxy(hostIn(host))).toBeDefined()
  })

  it.each(noHosts)('%s is no host at all', (host) => {
    expect(URL.canParse(`https://${host}/`)).toBe(false)
  })

  it.each(openHosts)('%s is open', (host) => {
    expect(strict.refusalOfLiteral(hostIn(host))).toBeUndefined()
  })

  it('a name is judged by where it leads, and the address with a zone as without', () => {
    expect(strict.refusalOfLiteral('localhost.')).toBeUndefined()
    expect(strict.refusal('localhost.', '127.0.0.1')).toBeDefined()
    expect(strict.refusal('receiver.example', '8.8.8.8')).toBeUndefined()
    expect(strict.refusal('receiver.example', 'fe80::1%eth0')).toBeDefined()
    expect(strict.refusal('receiver.example', 'fe80::1%25eth0')).toBeDefined()
  })

  it.each(['', 'x', '1.2.3', '::1::', '1.2.3.4/8', '300.1.1.1'])(
    '%j is no address, and refused',
    (address) => {
      expect(strict.refusal('receiver.example', address)).toBeDefined()
    },
  )
})

/** Ranges that are not public, with their family's bits. Written down from IANA's registries, not from the code. */
const closedRanges = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const

const closedIpv6Prefixes = [
  // first 16 bits of an address, and how many of them are fixed
  [0x0000, 8],
  [0x0100, 8],
  [0x0200, 7],
  [0x0400, 6],
  [0x0800, 5],
  [0x1000, 4],
  [0x2002, 16],
  [0x4000, 3],
  [0x6000, 3],
  [0x8000, 3],
  [0xa000, 3],
  [0xc000, 3],
  [0xe000, 4],
  [0xf000, 5],
  [0xf800, 6],
  [0xfc00, 7],
  [0xfe00, 9],
  [0xfe80, 10],
  [0xfec0, 10],
  [0xff00, 8],
] as const

const ipv4Number = (text: string) => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)

/** Every way in which URL takes an IPv4 address. */
function spellingsOf(value: number): string[] {
  const parts = [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256)
  const [a = 0, b = 0] = parts
  const bases = [
    (part: number) => String(part),
    (part: number) => `0x${part.toString(16)}`,
    (part: number) => `0${part.toString(8)}`,
  ]
  const hextets = `${Math.floor(value / 65_536).toString(16)}:${(value % 65_536).toString(16)}`
  return [
    ...bases.flatMap((write) => [
      parts.map(write).join('.'),
      [write(a), write(b), write(value % 65_536)].join('.'),
      [write(a), write(value % 16_777_216)].join('.'),
      write(value),
    ]),
    `${parts.join('.')}.`,
    parts.join('。'),
    [...parts.join('.')]
      .map((char) => (char === '.' ? '.' : String.fromCodePoint(0xff10 + Number(char))))
      .join(''),
    `[::ffff:${hextets}]`,
    `[::ffff:${parts.join('.')}]`,
    `[::ffff:0:${hextets}]`,
    `[64:ff9b::${hextets}]`,
    `[2002:${hextets}::]`,
    `[::${hextets}]`,
  ]
}

describe('every address', () => {
  it('of every IPv4 range that is not public is refused in every spelling', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...closedRanges),
        fc.nat({ max: 2 ** 31 - 1 }),
        ([base, prefix], within) => {
          const value = ipv4Number(base) + (within % 2 ** (32 - prefix))
          for (const spelling of spellingsOf(value)) {
            expect(strict.refusalOfLiteral(hostIn(spelling)), spelling).toBeDefined()
          }
        },
      ),
      { seed, numRuns: 400 },
    )
  })

  it('of IPv6 outside of what is given out for the public is refused, written short or long', () => {
    const hextet = fc.integer({ min: 0, max: 0xffff })
    fc.assert(
      fc.property(
        fc.constantFrom(...closedIpv6Prefixes),
        fc.array(fc.oneof(hextet, fc.constant(0)), { minLength: 8, maxLength: 8 }),
        ([first, bits], random) => {
          const head = first + ((random[0] ?? 0) % 2 ** (16 - bits))
          const words = [head, ...random.slice(1)]
          // What is mapped is judged as IPv4 and may be public.
          fc.pre(!(words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff))
          const long = words.map((word) => word.toString(16).padStart(4, '0')).join(':')
          for (const spelling of [
            long,
            long.toUpperCase(),
            words.map((word) => word.toString(16)).join(':'),
          ]) {
            expect(strict.refusalOfLiteral(hostIn(`[${spelling}]`)), spelling).toBeDefined()
            expect(strict.refusal('receiver.example', `${spelling}%eth0`)).toBeDefined()
          }
        },
      ),
      { seed, numRuns: 400 },
    )
  })

  it('that is mapped is what it maps', () => {
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 32 - 1 }), (value) => {
        const [dotted = ''] = spellingsOf(value)
        const direct = strict.refusalOfLiteral(dotted) === undefined
        expect(strict.refusal('receiver.example', `::ffff:${dotted}`) === undefined).toBe(direct)
      }),
      { seed, numRuns: 400 },
    )
  })
})

describe('SPILLWAY_EGRESS_ALLOW', () => {
  it('opens an address, a range, and nothing beside it', () => {
    const guard = allowing('127.0.0.1, 10.1.0.0/16, fd12::/32')
    expect(guard.refusalOfLiteral('127.0.0.1')).toBeUndefined()
    expect(guard.refusalOfLiteral('127.0.0.2')).toBeDefined()
    expect(guard.refusalOfLiteral('10.1.255.255')).toBeUndefined()
    expect(guard.refusalOfLiteral('10.2.0.0')).toBeDefined()
    expect(guard.refusalOfLiteral('[fd12:0:1::1]')).toBeUndefined()
    expect(guard.refusalOfLiteral('[fd13::1]')).toBeDefined()
    expect(guard.refusal('collector.internal', '10.1.2.3')).toBeUndefined()
  })

  it('opens mapped addresses with those they map, however the range is written', () => {
    expect(allowing('10.0.0.0/8').refusalOfLiteral('[::ffff:a00:1]')).toBeUndefined()
    expect(allowing('::ffff:10.0.0.0/104').refusalOfLiteral('10.9.9.9')).toBeUndefined()
    expect(allowing('::ffff:10.0.0.0/104').refusalOfLiteral('11.0.0.1')).toBeUndefined()
    expect(allowing('::ffff:10.0.0.0/104').refusalOfLiteral('192.168.0.1')).toBeDefined()
    expect(allowing('::/0').refusalOfLiteral('10.0.0.1')).toBeDefined()
  })

  it('opens a name, whatever it leads to, and no other name and no address', () => {
    const guard = allowing('Collector.Internal')
    for (const name of ['collector.internal', 'COLLECTOR.internal', 'collector.internal.']) {
      expect(guard.refusal(name, '10.0.0.1')).toBeUndefined()
      expect(guard.refusal(name, '127.0.0.1')).toBeUndefined()
      expect(guard.refusal(name, '::1')).toBeUndefined()
    }
    expect(guard.refusal('a.collector.internal', '10.0.0.1')).toBeDefined()
    expect(guard.refusal('internal', '10.0.0.1')).toBeDefined()
    expect(guard.refusalOfLiteral('10.0.0.1')).toBeDefined()
  })

  const metadata = [
    '169.254.169.254',
    'fd00:ec2::254',
    'fd20:ce::254',
    '169.254.170.2',
    '169.254.170.23',
    'fd00:ec2::23',
    '100.100.100.200',
    '168.63.129.16',
    '192.0.0.192',
    'fe80::a9fe:a9fe',
    'fd00:c1::a9fe:a9fe',
  ]
  it.each(metadata)('opens %s by nothing but itself', (address) => {
    const literal = address.includes(':') ? `[${address}]` : address
    const wide = allowing('0.0.0.0/0,::/0,169.254.169.254/31,fd00:ec2::254/127,metadata.google.internal')
    expect(wide.refusalOfLiteral(literal)).toBeDefined()
    expect(wide.refusal('metadata.google.internal', address)).toBeDefined()
    expect(wide.refusal('metadata.google.internal', '8.8.8.8')).toBeUndefined()
    expect(allowing(address).refusalOfLiteral(literal)).toBeUndefined()
    expect(allowing(address).refusal('metadata.google.internal', address)).toBeUndefined()
  })

  it('does not open by a range of IPv6 what an address in it carries', () => {
    const guard = allowing('64:ff9b::/96,2002::/16,::/96,2001::/32,::ffff:0:0:0/96')
    expect(guard.refusalOfLiteral('[64:ff9b::808:808]')).toBeUndefined()
    expect(guard.refusalOfLiteral('[2002:808:808::1]')).toBeUndefined()
    for (const host of [
      '[64:ff9b::a00:1]',
      '[64:ff9b::a9fe:a9fe]',
      '[2002:a9fe:a9fe::]',
      '[::a00:1]',
      '[::ffff:0:a00:1]',
      // Teredo writes the client's address inverted.
      '[2001:0:808:808::f5ff:fffe]',
    ]) {
      expect(guard.refusalOfLiteral(host), host).toBeDefined()
    }
    expect(allowing('64:ff9b::/96,10.0.0.0/8').refusalOfLiteral('[64:ff9b::a00:1]')).toBeUndefined()
    expect(allowing('64:ff9b::a9fe:a9fe').refusalOfLiteral('[64:ff9b::a9fe:a9fe]')).toBeUndefined()
    expect(allowing('::1').refusalOfLiteral('[::1]')).toBeUndefined()
    expect(allowing('localhost').refusal('localhost', '::1')).toBeUndefined()
  })
})

describe('what is said', () => {
  it('names the host as it was written and what the operator can do, not where the name led', () => {
    const { message } = strict.refusal('db.internal', '10.3.2.1') ?? { message: '' }
    expect(message).toContain('db.internal')
    expect(message).toContain('the operator may allow it with SPILLWAY_EGRESS_ALLOW')
    expect(message).not.toContain('10.3.2.1')
    // Nor whether it is a metadata service.
    expect(strict.refusal('db.internal', '169.254.169.254')?.message).toBe(message)
  })

  it.each([
    ['127.0.0.1', '127.0.0.1 is not a public address; the operator may allow it with SPILLWAY_EGRESS_ALLOW.'],
    ['[::1]', '[::1] is not a public address; the operator may allow it with SPILLWAY_EGRESS_ALLOW.'],
    [
      '169.254.169.254',
      "169.254.169.254 is a cloud's metadata service; nothing but its exact address in SPILLWAY_EGRESS_ALLOW opens it.",
    ],
  ])('of %s', (host, message) => {
    expect(allowing('10.0.0.0/8').refusalOfLiteral(host)?.message).toBe(message)
  })

  it('tells the operator why a listed name was not enough', () => {
    const { message } = allowing('db.internal').refusal('db.internal', '169.254.169.254') ?? { message: '' }
    expect(message).toContain('exact address')
  })

  it('is bounded', () => {
    expect(strict.refusal(`${'a'.repeat(4_000)}.example`, '10.0.0.1')?.message.length).toBeLessThan(400)
  })
})

describe('through a proxy', () => {
  it.each([
    'localhost',
    'LOCALHOST.',
    'a.localhost',
    'metadata.google.internal',
    'metadata',
    'instance-data',
  ])('%s is refused by its name', (host) => {
    expect(strict.refusalThroughProxy(host)).toMatchObject({ code: 'address_refused' })
  })

  it('other names are left to the proxy', () => {
    expect(strict.refusalThroughProxy('receiver.example')).toBeUndefined()
    expect(allowing('localhost').refusalThroughProxy('localhost')).toBeUndefined()
    expect(allowing('metadata.google.internal').refusalThroughProxy('metadata.google.internal')).toBeDefined()
  })
})

describe('a lookup', () => {
  const answering = (addresses: readonly string[]) =>
    guardedLookup(strict, (_host, _options, done) =>
      done(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      ),
    )
  const ask = (lookup: ReturnType<typeof answering>, all = true) =>
    new Promise<{ error: Error | null; found: string | LookupAddress[]; family: number | undefined }>(
      (resolve) => {
        lookup('receiver.example', { all }, (error, found, family) => resolve({ error, found, family }))
      },
    )

  it('hands on all public addresses, or the first where one is asked for', async () => {
    const lookup = answering(['8.8.8.8', '2606:4700::1'])
    expect(await ask(lookup)).toMatchObject({
      error: null,
      found: [
        { address: '8.8.8.8', family: 4 },
        { address: '2606:4700::1', family: 6 },
      ],
    })
    expect(await ask(lookup, false)).toMatchObject({ found: '8.8.8.8', family: 4 })
  })

  it.each([
    [['10.0.0.1']],
    [['8.8.8.8', '10.0.0.1']],
    [['8.8.8.8', '8.8.4.4', '2606:4700::1', '::1']],
    [['fe80::1%2']],
  ])('with a bad one among %j is refused', async (addresses) => {
    for (const all of [true, false]) {
      expect((await ask(answering(addresses), all)).error).toMatchObject({ code: 'address_refused' })
    }
  })

  it('that finds nothing has not found it', async () => {
    expect((await ask(answering([]))).error).toMatchObject({ code: 'ENOTFOUND' })
  })
})
