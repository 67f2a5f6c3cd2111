/** What every provider calls itself. */
import { version } from '../version.ts'

export const userAgent = `Spillway/${version}`
