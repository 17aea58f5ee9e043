/** Managed key ids have 32 hex digits and are shown as a UUID, as the contract's are; a CMK's id stays. */
export function keyIdText(keyId: string): string {
  return /^[0-9a-f]{32}$/.test(keyId) ? uuidText(keyId) : keyId
}

/** 32 hex digits as a UUID. */
export function uuidText(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")
}

export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64")
}

/** Milliseconds since 1970 as ISO 8601. */
export function isoTime(at: number): string {
  return new Date(at).toISOString()
}
