import type { Provider } from '../provider.ts'
import { type HttpConfig, parseHttpConfig } from './config.ts'
import { encodeHttpEvent, httpFraming, httpLimits } from './encode.ts'
import { openHttpSender } from './sender.ts'

/** Any HTTP endpoint: a webhook, a collector, a function. */
export const http: Provider<HttpConfig> = {
  type: 'http',
  parseConfig: parseHttpConfig,
  limits: httpLimits,
  framing: httpFraming,
  encode: encodeHttpEvent,
  open: openHttpSender,
}
