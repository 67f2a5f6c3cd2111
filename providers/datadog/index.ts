import type { Provider } from '../provider.ts'
import { type DatadogConfig, parseDatadogConfig } from './config.ts'
import { datadogFraming, datadogLimits, encodeDatadogEvent } from './encode.ts'
import { openDatadogSender } from './sender.ts'

/** Datadog Logs. */
export const datadog: Provider<DatadogConfig> = {
  type: 'datadog',
  parseConfig: parseDatadogConfig,
  limits: datadogLimits,
  framing: () => datadogFraming,
  encode: encodeDatadogEvent,
  open: openDatadogSender,
}
