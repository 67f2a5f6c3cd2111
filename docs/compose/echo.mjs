// A receiver to try Spillway with: prints what it gets and answers 200. Needs nothing but Node.
import { createServer } from 'node:http'

const server = createServer(async (request, response) => {
  let body = ''
  request.setEncoding('utf8')
  for await (const text of request) body += text
  // The health check of the compose file asks with GET.
  if (request.method !== 'GET') {
    process.stdout.write(`${request.method} ${request.url} batch ${request.headers['webhook-id']}\n`)
    process.stdout.write(`${pretty(body)}\n\n`)
  }
  response.end('ok\n')
})

server.listen(Number(process.env.PORT ?? 8080), process.env.HOST, () => {
  process.stdout.write(`Listening on port ${server.address().port}\n`)
})

// The first process of a container dies of no signal that it does not handle.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0))

function pretty(body) {
  try {
    return JSON.stringify(JSON.parse(body), null, 2)
  } catch {
    return body
  }
}
