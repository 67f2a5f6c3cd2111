import { lookup } from 'node:dns'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { AddressGuard } from '../../../src/egress/address-guard.ts'
import { createConnector } from '../../../src/egress/dial.ts'
import { sipBytes } from '../../../src/egress/sips.ts'

const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

/** As undici gets it; the other side has sent so much, all of which is there, and has said that this is all. */
async function connectionWith(bytes: number): Promise<Socket> {
  const server = createServer((socket) => socket.on('error', () => {}).end(Buffer.alloc(bytes, 'a')))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const closing = new AbortController()
  ends.push(() => {
    closing.abort()
    server.close()
  })
  const connect = createConnector({
    guard: new AddressGuard({ cidrs: [], hosts: ['127.0.0.1'] }),
    resolve: lookup,
    closing: closing.signal,
  })
  const { port } = server.address() as AddressInfo // it listens
  const target = { hostname: '127.0.0.1', protocol: 'http:', port: String(port) }
  return new Promise((resolve, reject) => {
    connect(target, (error, socket) => {
      if (error || !socket) return reject(error)
      ends.push(() => socket.destroy())
      socket.once('readable', () => resolve(socket))
    })
  })
}

/** All that can be read without waiting. */
function readAll(socket: Socket): number[] {
  const sizes: number[] = []
  for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) sizes.push(chunk.length)
  return sizes
}

test('an answer is read a little at a time, to its end', async () => {
  const socket = await connectionWith(200_001)
  const sizes: number[] = []
  const read = () => sizes.push(...readAll(socket))
  socket.on('readable', read)
  const ended = once(socket, 'end')
  read()
  await ended
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(200_001)
  expect(Math.max(...sizes)).toBe(sipBytes)
})

test('a small answer is read at once', async () => {
  const socket = await connectionWith(sipBytes)
  expect(readAll(socket)).toEqual([sipBytes])
})

test('whoever wants so much gets so much', async () => {
  const socket = await connectionWith(20_000)
  while (socket.readableLength < 20_000) await once(socket, 'readable')
  expect(socket.read(10_000)).toHaveLength(10_000)
})

test('nothing is read any more when it is closed', async () => {
  const socket = await connectionWith(20_000)
  expect(socket.read()).toHaveLength(sipBytes)
  socket.destroy()
  expect(socket.readableLength).toBeGreaterThan(0)
  expect(socket.read()).toBeNull()
})
