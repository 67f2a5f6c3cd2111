import { getEventListeners } from 'node:events'
import { createServer } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HttpFailure, type HttpRequest } from '../../../providers/provider.ts'
import { type ClosableHttpClient, createHttpClient } from '../../../src/egress/http-client.ts'
import { loopback } from '../../support/egress.ts'
import {
  closedPort,
  cutShort,
  destroy,
  drip,
  endless,
  flood,
  hang,
  late,
  malformed,
  type Receiver,
  redirect,
  startReceiver,
} from '../../support/receiver.ts'

const never = new AbortController().signal

describe('the HTTP client', () => {
  let receiver: Receiver
  let http: ClosableHttpClient

  beforeEach(async () => {
    receiver = await startReceiver()
    http = createHttpClient({ allow: loopback })
  })
  afterEach(async () => {
    await http.close()
    await receiver.close()
  })

  function request(changes: Partial<HttpRequest> = {}): HttpRequest {
    return {
      method: 'POST',
      url: new URL(`${receiver.url}/a?b=c`),
      headers: {},
      timeoutMs: 5_000,
      ...changes,
    }
  }

  async function failure(changes: Partial<HttpRequest> = {}): Promise<HttpFailure> {
    const error: unknown = await http.request(request(changes), never).then(
      (answer) => new Error(`answered ${answer.status}`),
      (reason: unknown) => reason,
    )
    if (error instanceof HttpFailure) return error
    throw error
  }

  describe('sends', () => {
    it('method, path, headers and body as they are', async () => {
      const body = Buffer.from([0, 255, 10])
      await http.request(request({ method: 'PUT', headers: { 'x-a': 'b' }, body }), never)
      expect(receiver.requests[0]).toMatchObject({ method: 'PUT', path: '/a?b=c', rawBody: body })
      expect(receiver.requests[0]?.headers).toMatchObject({ 'x-a': 'b', 'content-length': '3' })
    })

    it('text as UTF-8, and nothing when there is nothing', async () => {
      await http.request(request({ body: 'ü😀' }), never)
      await http.request(request({ method: 'GET' }), never)
      expect(receiver.requests.map(({ body }) => body.toString())).toEqual(['ü😀', ''])
    })

    it('several requests over one connection', async () => {
      for (let n = 0; n < 5; n += 1) {
        await http.request(request(), never)
        // undici takes the connection back in the next turn of the event loop.
        await nextTurn()
      }
      expect(receiver.connections).toBe(1)
    })

    it('no more at once than it has connections for', async () => {
      const narrow = createHttpClient({ allow: loopback, maxConnectionsPerOrigin: 2 })
      receiver.always(late(5))
      await Promise.all(Array.from({ length: 10 }, () => narrow.request(request(), never)))
      expect(receiver.requests).toHaveLength(10)
      expect(receiver.connections).toBe(2)
      await narrow.close()
    })

    it('past any proxy that the environment names', async () => {
      const names = ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY']
      const before = names.map((name) => process.env[name])
      for (const name of names) process.env[name] = `http://127.0.0.1:${await closedPort()}`
      const client = createHttpClient({ allow: loopback })
      expect((await client.request(request(), never)).status).toBe(200)
      await client.close()
      names.forEach((name, index) => {
        if (before[index] === undefined) delete process.env[name]
        else process.env[name] = before[index]
      })
    })

    it('by the resolver it is given, to the address that it names', async () => {
      const asked: string[] = []
      const resolving = createHttpClient({
        allow: loopback,
        resolve(hostname, _options, done) {
          asked.push(hostname)
          done(null, [{ address: '127.0.0.1', family: 4 }])
        },
      })
      const url = new URL(`http://receiver.example:${receiver.port}/`)
      await resolving.request(request({ url }), never)
      expect(asked).toEqual(['receiver.example'])
      expect(receiver.requests[0]?.headers.host).toBe(`receiver.example:${receiver.port}`)
      await resolving.close()
    })
  })

  describe('reads', () => {
    it('status, headers and body', async () => {
      receiver.reply({ status: 422, headers: { 'X-One': 'a', 'X-Two': ['b', 'c'] }, body: '{"é":1}' })
      const answer = await http.request(request(), never)
      expect(answer).toMatchObject({
        status: 422,
        body: '{"é":1}',
        headers: { 'x-one': 'a', 'x-two': 'b, c' },
      })
    })

    it('the first 64 KiB and closes the connection on the rest', async () => {
      const closed = Promise.withResolvers<number>()
      receiver.reply(endless(closed.resolve))
      const answer = await http.request(request(), never)
      expect(answer).toMatchObject({ status: 200, body: 'x'.repeat(65_536) })
      // Both sides' socket buffers fill up before the receiver notices.
      expect(await closed.promise).toBeLessThan(20_000_000)
      expect((await http.request(request(), never)).status).toBe(200)
      expect(receiver.connections).toBe(2)
    })

    it('a redirect as an answer', async () => {
      receiver.reply(redirect(`${receiver.url}/elsewhere`, 307))
      expect((await http.request(request(), never)).status).toBe(307)
      expect(receiver.requests).toHaveLength(1)
    })

    it('compressed bytes as they are', async () => {
      receiver.reply({ headers: { 'content-encoding': 'gzip' }, body: 'not gzip at all' })
      expect((await http.request(request(), never)).body).toBe('not gzip at all')
    })

    it('an answer that informs first', async () => {
      receiver.reply((response) => {
        response.writeEarlyHints({ link: '</a>; rel=preload' })
        response.writeHead(204).end()
      })
      expect((await http.request(request(), never)).status).toBe(204)
    })
  })

  describe('fails', () => {
    it('in time when no answer comes', async () => {
      receiver.always(hang)
      const error = await failure({ timeoutMs: 30 })
      expect(error).toMatchObject({
        code: 'timeout',
        message: 'The receiver did not answer within 30 ms.',
      })
    })

    it('in time when the answer does not end', async () => {
      receiver.always(drip(2))
      expect((await failure({ timeoutMs: 60 })).code).toBe('timeout')
    })

    it('in time while it waits for a connection', async () => {
      const narrow = createHttpClient({ allow: loopback, maxConnectionsPerOrigin: 1 })
      receiver.always(hang)
      const both = [
        narrow.request(request({ timeoutMs: 60 }), never),
        narrow.request(request({ timeoutMs: 30 }), never),
      ]
      const codes = (await Promise.allSettled(both)).map(
        (one) => one.status === 'rejected' && one.reason.code,
      )
      expect(codes).toEqual(['timeout', 'timeout'])
      await narrow.close()
    })

    it('in time while it is connected, and then sends nothing', async () => {
      const mayAnswer = Promise.withResolvers<void>()
      const slow = createHttpClient({
        allow: loopback,
        resolve: (_host, _options, done) =>
          void mayAnswer.promise.then(() => done(null, [{ address: '127.0.0.1', family: 4 }])),
      })
      const url = new URL(`http://receiver.example:${receiver.port}/`)
      const late = slow.request(request({ url, timeoutMs: 30 }), never)
      await expect(late).rejects.toMatchObject({ code: 'timeout' })
      const next = slow.request(request({ url, body: 'next' }), never)
      mayAnswer.resolve()
      expect((await next).status).toBe(200)
      expect(receiver.requests.map(({ body }) => body.toString())).toEqual(['next'])
      await slow.close()
    })

    it('when nobody listens', async () => {
      const url = new URL(`http://127.0.0.1:${await closedPort()}`)
      expect((await failure({ url })).code).toBe('connection_refused')
    })

    it('when the connection breaks', async () => {
      receiver.reply(destroy, cutShort)
      expect((await failure()).code).toBe('connection_reset')
      expect((await failure()).code).toBe('connection_reset')
      expect(receiver.requests).toHaveLength(2)
    })

    it('when the answer is not HTTP, without a word of it', async () => {
      receiver.reply(malformed('hush this is no HTTP\r\n\r\n'))
      const error = await failure()
      expect(error.code).toBe('network')
      expect(error.message).not.toContain('hush')
    })

    it('when the headers are too large', async () => {
      receiver.reply(malformed(`HTTP/1.1 200 OK\r\nx-a: ${'x'.repeat(20_000)}\r\n\r\n`))
      expect((await failure()).code).toBe('network')
    })

    it.each([
      ['news', '', 'HTTP/1.1 103 Early Hints\r\n\r\n'],
      ['a chunk that is announced', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4;a=', 'xxxx'],
      ['trailers', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n', 'a: b\r\n'],
      ['headers', 'HTTP/1.1 200 OK\r\n', 'a: b\r\n'],
    ])('when there is no end to %s, long before its time is over', async (_what, start, chunk) => {
      const closed = Promise.withResolvers<void>()
      receiver.reply((response) => {
        response.socket?.on('close', closed.resolve)
        flood(start, chunk.repeat(2_000))(response)
      })
      expect((await failure({ timeoutMs: 60_000 })).code).toBe('network')
      await closed.promise
      expect((await http.request(request(), never)).status).toBe(200)
    })

    it('not by many answers over one connection', async () => {
      receiver.always({ body: 'x'.repeat(60_000) })
      for (let n = 0; n < 30; n += 1) {
        await http.request(request(), never)
        await nextTurn()
      }
      expect(receiver.connections).toBe(1)
    })

    it('when the other side speaks no TLS', async () => {
      const plain = createServer((socket) => {
        socket.on('error', () => {})
        socket.resume()
        socket.end('hello, no TLS here')
      })
      await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve))
      const address = plain.address()
      const port = typeof address === 'object' ? address?.port : undefined
      const error = await failure({ url: new URL(`https://127.0.0.1:${port}`) })
      expect(error.code).toBe('tls')
      await new Promise((resolve) => plain.close(resolve))
    })

    it('when the name leads nowhere', async () => {
      const offline = createHttpClient({
        resolve: (_host, _options, done) => done(Object.assign(new Error(), { code: 'ENOTFOUND' }), []),
      })
      const asked = offline.request(request({ url: new URL('http://nowhere.invalid') }), never)
      await expect(asked).rejects.toMatchObject({ name: 'HttpFailure', code: 'dns' })
      await offline.close()
    })

    it('when it is closed, before and meanwhile', async () => {
      receiver.always(hang)
      const pending = expect(failure()).resolves.toMatchObject({ code: 'aborted' })
      await receiver.received(1)
      await http.close()
      await pending
      expect((await failure()).code).toBe('aborted')
    })
  })

  describe('stops', () => {
    it("with the signal's reason, and lets go of the connection", async () => {
      const gone = Promise.withResolvers<void>()
      receiver.always((response) => response.on('close', gone.resolve))
      const controller = new AbortController()
      const reason = new Error('shutting down')
      const rejected = expect(http.request(request(), controller.signal)).rejects.toBe(reason)
      await receiver.received(1)
      controller.abort(reason)
      await rejected
      await gone.promise
    })

    it('before it has begun', async () => {
      await expect(http.request(request(), AbortSignal.abort('no'))).rejects.toBe('no')
      expect(receiver.connections).toBe(0)
    })

    it('listening to the signal once the answer is there', async () => {
      const controller = new AbortController()
      const { signal } = controller
      await http.request(request(), signal)
      expect(getEventListeners(signal, 'abort')).toEqual([])
    })
  })

  it('does not trip over connections that the server closes while they are idle', async () => {
    for (let n = 0; n < 20; n += 1) {
      // The server ends the connection right after its answer, without having said so.
      receiver.reply((response) => response.end('ok', () => response.socket?.end()))
      expect((await http.request(request(), never)).status).toBe(200)
      await nextTurn()
    }
    expect(receiver.requests).toHaveLength(20)
  })
})
