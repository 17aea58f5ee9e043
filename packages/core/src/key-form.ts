/**
 * The form of a key for one use that a version of Node is quickest with. Node 24 takes some nine microseconds longer
 * with raw bytes than with a KeyObject, every other supported version is quicker with raw bytes (docs/design.md, "Key
 * form").
 */
export function oneUseKeyForm(nodeVersion: string): "raw" | "keyObject" {
  return nodeVersion.startsWith("24.") ? "keyObject" : "raw"
}
