/** What a check has to say. */
import type { Grade, HazardCode } from './codes.ts'

export interface Subject {
  readonly kind: 'server' | 'source' | 'destination'
  /** `database`, a log type, or a destination's id. */
  readonly name: string
}

export type Finding = Hazardous | Fine

export interface Hazardous {
  readonly severity: Grade
  readonly code: HazardCode
  readonly subject: Subject
  /** With figures. */
  readonly message: string
  /** The exact SQL, command or setting. */
  readonly remedy: string
}

/** What was looked at and is as it should be. */
export interface Fine {
  readonly severity: 'ok'
  readonly code: Area
  readonly subject: Subject
  readonly message: string
}

export type Area =
  | 'server'
  | 'privileges'
  | 'clock'
  | 'daemon'
  | 'transactions'
  | 'source'
  | 'index'
  | 'ids'
  | 'xact'
  | 'timestamps'
  | 'destinations'

/** Something will be lost or stand still. */
export function problem(code: HazardCode, subject: Subject, message: string, remedy: string): Hazardous {
  return { severity: 'problem', code, subject, message, remedy }
}

/** It will hurt. */
export function warning(code: HazardCode, subject: Subject, message: string, remedy: string): Hazardous {
  return { severity: 'warning', code, subject, message, remedy }
}

export function fine(code: Area, subject: Subject, message: string): Fine {
  return { severity: 'ok', code, subject, message }
}
