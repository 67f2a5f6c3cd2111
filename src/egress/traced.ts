/** A span for each request on its way out, and the header that carries it to the receiver (W3C Trace Context). */
import type { HttpClient } from '../../providers/provider.ts'
import type { Tracing } from '../telemetry/tracing.ts'

/**
 * By OpenTelemetry's conventions for HTTP clients, without what may hold a secret: of the URL, host and port only. A
 * header that the request has already goes before ours.
 */
export function traced(client: HttpClient, tracing: Tracing): HttpClient {
  return {
    request(request, signal) {
      const { method, url } = request
      const scheme = url.protocol.slice(0, -1)
      const attributes = {
        'http.request.method': method,
        'server.address': url.hostname.replace(/^\[(.*)\]$/, '$1'),
        'server.port': Number(url.port) || (scheme === 'https' ? 443 : 80),
        'url.scheme': scheme,
      }
      return tracing.span(method, 'client', attributes, async (span) => {
        const isCarried = Object.keys(request.headers).some((name) => name.toLowerCase() === 'traceparent')
        const headers = isCarried ? request.headers : { ...request.headers, ...span.headers }
        const answer = await client.request({ ...request, headers }, signal)
        span.set({ 'http.response.status_code': answer.status })
        if (answer.status >= 400) span.fail(String(answer.status))
        return answer
      })
    },
  }
}
