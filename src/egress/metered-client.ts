/** The HTTP client with a meter on it: how many requests are under way, how each ended and what time it took. */
import type { HttpClient } from '../../providers/provider.ts'
import { LeaseLostError } from '../errors.ts'

export interface RequestMeter {
  /** A request is sent; what is returned is called with the class of its answer: `2xx`, `error`, `aborted`. */
  beginRequest(): (result: string) => void
}

export function metered(client: HttpClient, meter: RequestMeter): HttpClient {
  return {
    async request(request, signal) {
      const end = meter.beginRequest()
      try {
        const answer = await client.request(request, signal)
        end(`${Math.floor(answer.status / 100)}xx`)
        return answer
      } catch (error) {
        end(signal.aborted || error instanceof LeaseLostError ? 'aborted' : 'error')
        throw error
      }
    },
  }
}
