/** The destination types of this version. A new one is added here and to the conformance suite. */
import { datadog } from './datadog/index.ts'
import { http } from './http/index.ts'
import { type DestinationType, destinationType } from './provider.ts'

export const destinationTypes: readonly DestinationType[] = [destinationType(http), destinationType(datadog)]
