/** What may stand in an HTTP header (RFC 9110, 5.5 and 5.6.2), for settings that end up in one. */

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** What is wrong with a header's name, or nothing. */
export function headerNameProblem(name: string): string | undefined {
  return token.test(name) ? undefined : "is not a header name: letters, digits and -_.!#$%&'*+^`|~ only"
}

/** What is wrong with a header's value, or nothing. Says no character of it. */
export function headerValueProblem(value: string): string | undefined {
  if (/[\r\n]/.test(value)) return 'holds a line break'
  // Bytes above 0x7e are allowed by the RFC, but receivers disagree about their charset.
  if (!/^[\t\x20-\x7e]*$/.test(value)) return 'holds characters other than printable ASCII'
  if (value !== value.trim()) return 'begins or ends with a space'
  return undefined
}

/** What is wrong with a token or key, or nothing: as a header's value, and without spaces. */
export function credentialProblem(value: string): string | undefined {
  return headerValueProblem(value) ?? (/\s/.test(value) ? 'holds a space' : undefined)
}
