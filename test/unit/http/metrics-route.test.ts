import { expect, test } from 'vitest'
import { startHttpServer } from '../../../src/http/server.ts'

test('/metrics that cannot be read answers 500, without saying why, and all else is answered as before', async () => {
  const server = await startHttpServer({
    host: '127.0.0.1',
    port: 0,
    readiness: () => ({ ready: true, problems: [] }),
    metrics: {
      contentType: 'text/plain; version=0.0.4; charset=utf-8',
      render: () => Promise.reject(new Error('s3cret')),
    },
  })
  try {
    const answer = await fetch(`${server.url}/metrics`)
    expect(answer.status).toBe(500)
    expect(await answer.text()).not.toContain('s3cret')
    expect((await fetch(`${server.url}/livez`)).status).toBe(200)
  } finally {
    await server.close()
  }
})
