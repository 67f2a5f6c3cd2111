/**
 * The daemon's own HTTP side: `/livez` says that the process turns, `/readyz` that it can do its work, `/metrics` how
 * it does. Answers hold no more than that, so they need no token.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ConfigError } from '../errors.ts'

export interface Readiness {
  readonly ready: boolean
  /** Why not, in a word or two each. */
  readonly problems: readonly string[]
}

/** In the text format of Prometheus. */
export interface MetricsPage {
  readonly contentType: string
  render(): Promise<string>
}

export interface HttpServerOptions {
  readonly host: string
  readonly port: number
  readiness(): Readiness
  readonly metrics: MetricsPage
}

export interface RunningHttpServer {
  /** `http://host:port` */
  readonly url: string
  close(): Promise<void>
}

/** Throws `ConfigError` when the address cannot be listened on. */
export async function startHttpServer(options: HttpServerOptions): Promise<RunningHttpServer> {
  const server = createServer((request, response) => {
    const answer = (status: number, contentType: string, body: string) => {
      response.writeHead(status, { 'content-type': contentType, 'cache-control': 'no-store' })
      response.end(request.method === 'HEAD' ? undefined : body)
    }
    const send = (status: number, body: object) =>
      answer(status, 'application/json', `${JSON.stringify(body)}\n`)
    const path = request.url?.split('?', 1)[0]
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return send(405, { error: 'method not allowed' })
    }
    switch (path) {
      case '/livez':
        return send(200, { status: 'alive' })
      case '/readyz': {
        const { ready, problems } = options.readiness()
        return send(ready ? 200 : 503, { status: ready ? 'ready' : 'not ready', problems })
      }
      case '/metrics':
        return options.metrics.render().then(
          (page) => answer(200, options.metrics.contentType, page),
          () => send(500, { error: 'the metrics could not be read' }),
        )
      default:
        return send(404, { error: 'not found' })
    }
  })
  server.requestTimeout = 10_000
  await listen(server, options)
  const { port } = server.address() as AddressInfo // a TCP server that listens has one
  return {
    url: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function listen(server: Server, { host, port }: HttpServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE'
      reject(
        new ConfigError([
          {
            field: taken ? 'SPILLWAY_HTTP_PORT' : 'SPILLWAY_HTTP_HOST',
            problem: taken
              ? `port ${port} on ${host} is taken; choose another one, or 0 for any`
              : `cannot listen on ${host}: ${error.code}`,
          },
        ]),
      )
    })
    server.listen(port, host, resolve)
  })
}
