/**
 * The contract between the daemon and a destination type.
 *
 * A **provider** is the code for one type (`http`, `datadog`, …). It parses a destination's config, says
 * what the receiver takes, turns events into bytes, and opens **senders**. A **sender** belongs to one
 * destination, sends frozen batches and says what came of it as a value (`Outcome`). Batching, retries,
 * back-off, the cursor and the accounting are the daemon's and never the sender's.
 */

/**
 * A row of an audit table as it travels. Everything in it is fixed once the row has been read. Not to be spread: what few
 * ask for is a getter.
 */
export interface AuditEvent {
  /** `<log type>:<row id>`, the same in every attempt, replay and destination. */
  readonly id: string
  readonly logType: string
  /** ISO 8601 with the full precision of the row's timestamp. */
  readonly timestamp: string
  /** The same instant in epoch milliseconds, for age limits and vendors that want numbers. */
  readonly timestampMs: number
  readonly orgId: string | null
  /** The row as the text of a JSON object. */
  readonly dataJson: string
}

/** What the receiver takes at most. Bytes are counted as UTF-8, before compression, framing included. */
export interface Limits {
  readonly maxEvents: number
  readonly maxBytes: number
  /** An event whose encoded form is larger becomes a dead letter (`event_too_large`). */
  readonly maxEventBytes: number
  /** Events older than this are dropped by the receiver although it says yes; they are skipped and recorded. */
  readonly maxEventAgeMs?: number
  /** The same for events whose timestamp lies further ahead than this. */
  readonly maxEventAheadMs?: number
}

/**
 * How encoded events are put together to a body: `prefix + events.join(separator) + suffix`, compressed or
 * not. It enters the batch id, because equal ids promise equal bytes (I4).
 */
export interface Framing {
  readonly prefix: string
  readonly separator: string
  readonly suffix: string
  readonly gzip: boolean
  /** Each event travels in a request of its own, without prefix, separator or suffix. */
  readonly onePerRequest?: boolean
}

export interface EncodedEvent {
  /** The event's id, `<log type>:<row id>`. */
  readonly id: string
  /** What `Provider.encode` made of it, in UTF-8. */
  readonly body: Uint8Array
  /** Of `body`. */
  readonly bytes: number
}

/** Consecutive events with frozen bounds. Never empty. */
export interface EncodedBatch {
  /** Stable over retries and restarts, without `.`; equal ids mean equal bytes. */
  readonly id: string
  readonly logType: string
  readonly events: readonly EncodedEvent[]
  /**
   * The replay that sends this batch; undefined in the live stream. Where the wire has room for it, the receiver is
   * told (`http`: the header `spillway-replay`). It is part of the id: a receiver that remembers ids takes it.
   */
  readonly replayId?: string | undefined
  /** The stable id of the event at `index` on its own, for providers that send one request an event. */
  eventBatchId(index: number): string
}

/** Why something was not accepted: a bounded code for metrics and a sentence for people, free of secrets. */
export interface Reason {
  readonly code: ReasonCode
  /** The HTTP status, where there was one. */
  readonly status?: number
  /** One line that never holds a credential, a header value or the answer's body. */
  readonly message: string
}

export type ReasonCode =
  | 'http_status'
  | 'redirect'
  | 'malformed_answer'
  | 'timeout'
  | 'connection_refused'
  | 'connection_reset'
  | 'dns'
  | 'tls'
  | 'network'
  | 'address_refused'
  | 'egress_proxy'
  | 'event_too_large'
  | 'duplicate_id'

export interface Accepted {
  readonly kind: 'accepted'
}
/** The receiver will never take this, however often it is sent. */
export interface Rejected {
  readonly kind: 'rejected'
  readonly reason: Reason
}
/** It may go well later. */
export interface Retry {
  readonly kind: 'retry'
  readonly reason: Reason
  /** The receiver asked for at least this pause. */
  readonly retryAfterMs?: number
}
/** The credentials are refused; the events are fine. */
export interface Unauthorized {
  readonly kind: 'unauthorized'
  readonly reason: Reason
}
/** The receiver asked never to be called again. */
export interface Gone {
  readonly kind: 'gone'
  readonly reason: Reason
}
/** Some events were taken. Those that `refused` does not name were accepted. */
export interface Partial {
  readonly kind: 'partial'
  /** By rising index, each at most once, never empty. */
  readonly refused: readonly Refusal[]
}
export interface Refusal {
  readonly index: number
  readonly outcome: Rejected | Retry | Unauthorized | Gone
}

export type Outcome = Accepted | Partial | Rejected | Retry | Unauthorized | Gone

export interface HttpRequest {
  readonly method: 'POST' | 'PUT' | 'GET'
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string
  /** From the start of the connection to the end of the answer. */
  readonly timeoutMs: number
  /**
   * Whom an `https:` receiver sees, and whom it is trusted for. Connections are kept by its contents and never
   * shared with another; hand in the same object for every request of a destination.
   */
  readonly tls?: TlsIdentity
}

/** PEM texts. */
export interface TlsIdentity {
  /** Trusted instead of the system's authorities. */
  readonly ca?: string
  /** The client's certificate, with its chain. */
  readonly cert?: string
  readonly key?: string
}

export interface HttpAnswer {
  readonly status: number
  /** Lower-case names; a header that came more than once is joined by `, `. */
  readonly headers: Readonly<Record<string, string>>
  /** The answer's first 64 KiB. For the sender's eyes only: it never travels into a log or a reason. */
  readonly body: string
}

/** A request that brought no answer. */
export class HttpFailure extends Error {
  readonly code:
    | Exclude<
        ReasonCode,
        'http_status' | 'redirect' | 'malformed_answer' | 'event_too_large' | 'duplicate_id'
      >
    | 'aborted'

  constructor(code: HttpFailure['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'HttpFailure'
    this.code = code
  }
}

/**
 * The daemon's HTTP client: bounded in time and size, follows no redirect, connects to no address that the
 * operator has not opened. Every request a sender makes goes through it. Throws `HttpFailure`.
 */
export interface HttpClient {
  request(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer>
}

/** A place in a config: `['auth', 'token']`, `['signing', 'secrets', 0]`. */
export type ConfigPath = readonly (string | number)[]

/** An address may be told to people and may be a secret; a credential is always one. */
export type SecretKind = 'credential' | 'address'

/** Opens what may be written into a destination's secret fields: text, a reference, a ciphertext. */
export interface Secrets {
  /**
   * What a secret field comes to, or what is wrong with it, without any part of its value. Called once for each
   * secret field that is there. What has none of the known forms comes back as it is.
   */
  reveal(
    written: unknown,
    at: ConfigPath,
    kind: SecretKind,
  ): { readonly value: unknown } | { readonly problem: string }
}

export interface SenderDeps {
  readonly http: HttpClient
  /** Epoch milliseconds. */
  readonly now: () => number
  /** The daemon's default; a destination's own `timeoutMs` goes before it. */
  readonly requestTimeoutMs: number
}

export interface Sender {
  /**
   * Sends one batch, once. Expected results are values; an abort of `signal` rejects with the signal's
   * reason, and nothing else is thrown on purpose.
   */
  send(batch: EncodedBatch, signal: AbortSignal): Promise<Outcome>
  close(): Promise<void>
}

export interface Provider<C> {
  readonly type: string
  /** Throws `DestinationConfigError`, which names every bad field at once. */
  parseConfig(raw: unknown, secrets: Secrets): C
  limits(config: C): Limits
  framing(config: C): Framing
  /**
   * Called when an event is read, and again each time it is read again. Pure: the same event, config and time
   * give the same text. `now` (epoch milliseconds) is for vendors that judge an event's age; whatever else
   * depends on it gives a retried batch other bytes, and with them another id (I4).
   */
  encode(event: AuditEvent, config: C, now: number): string
  open(config: C, deps: SenderDeps): Sender
}

/** A provider bound to one parsed config: what the daemon works with, whatever the config's type. */
export interface Configured {
  readonly limits: Limits
  readonly framing: Framing
  encode(event: AuditEvent, now: number): string
  open(deps: SenderDeps): Sender
}

/** A provider whose config type nobody outside needs to know. */
export interface DestinationType {
  readonly type: string
  /** Throws `DestinationConfigError`. */
  configure(rawConfig: unknown, secrets: Secrets): Configured
}

export function destinationType<C>(provider: Provider<C>): DestinationType {
  return {
    type: provider.type,
    configure(rawConfig, secrets) {
      const config = provider.parseConfig(rawConfig, secrets)
      return {
        limits: provider.limits(config),
        framing: provider.framing(config),
        encode: (event, now) => provider.encode(event, config, now),
        open: (deps) => provider.open(config, deps),
      }
    },
  }
}

export interface FieldProblem {
  /** Path of the field, e.g. `config.auth.token`. */
  readonly field: string
  /** What is wrong and what to write instead; never the value of a secret. */
  readonly problem: string
}

/** A destination's row cannot be used. It becomes `invalid`; the others run. */
export class DestinationConfigError extends Error {
  readonly code = 'DESTINATION_CONFIG'
  readonly fields: readonly FieldProblem[]

  constructor(fields: readonly FieldProblem[]) {
    super(fields.map(({ field, problem }) => `${field}: ${problem}`).join('; '))
    this.name = 'DestinationConfigError'
    this.fields = fields
  }
}
