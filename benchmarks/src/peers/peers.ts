import { type Cipher, CONTEXTS, openVariant } from "../variants.ts"

export type Peer = {
  readonly name: string
  /** In the pictures: one hue for each package. */
  readonly colour: string
  /** Loads the peer's package only now, so that a process holds no other. */
  readonly open: (pairs: number, storePath: string) => Promise<Cipher>
  /** Whether a measurement of this peer would tell anything that one of another case or peer does not. */
  readonly differs: (bytes: number, pairs: number) => boolean
}

/** The AWS Encryption SDK's own. */
const DEFAULT_FRAME_BYTES = 4096
/** The quickest for 1 and 64 MiB of those tried (docs/performance.md). */
const BEST_FRAME_BYTES = 1_048_576
/** The quicker key form: a raw key costs nine microseconds a call on Node 24, and none elsewhere. */
const FLOOR = process.version.startsWith("v24.") ? "floor-keyobject" : "floor-bytes"
const always = () => true

/** keyfold, its floor, and everyone else. */
export const PEERS: readonly Peer[] = [
  { name: "keyfold", colour: "black", open: openKeyfold, differs: always },
  {
    name: "node:crypto (floor)",
    colour: "#8a8a8a",
    open: (pairs, path) => openVariant(FLOOR, pairs, path),
    differs: always,
  },
  {
    name: "AWS Encryption SDK",
    colour: "#7f3b08",
    open: async (pairs) => (await import("./aws.ts")).aws(pairs, "signed", DEFAULT_FRAME_BYTES),
    differs: always,
  },
  {
    name: "AWS Encryption SDK, unsigned",
    colour: "#d95f02",
    open: async (pairs) => (await import("./aws.ts")).aws(pairs, "unsigned", DEFAULT_FRAME_BYTES),
    differs: always,
  },
  {
    name: "AWS Encryption SDK, unsigned, best frames",
    colour: "#e8a33d",
    open: async (pairs) => (await import("./aws.ts")).aws(pairs, "unsigned", BEST_FRAME_BYTES),
    differs: (bytes) => bytes > DEFAULT_FRAME_BYTES,
  },
  {
    name: "jose, A256GCMKW",
    colour: "#1b4f9c",
    open: async (pairs) => (await import("./jose.ts")).jose(pairs, "A256GCMKW"),
    differs: always,
  },
  {
    name: "jose, A256KW",
    colour: "#6baed6",
    open: async (pairs) => (await import("./jose.ts")).jose(pairs, "A256KW"),
    differs: always,
  },
  {
    name: "WorkOS, no wraps",
    colour: "#6a3d9a",
    open: async (pairs) => (await import("./workos.ts")).workos(pairs),
    differs: (_, pairs) => pairs === 1,
  },
  {
    name: "noble",
    colour: "#1b7837",
    open: async (pairs) => (await import("./noble.ts")).noble(pairs),
    differs: always,
  },
  {
    name: "sodium-native",
    colour: "#d6006c",
    open: async (pairs) => (await import("./sodium.ts")).sodiumNative(pairs),
    differs: always,
  },
]

/** With every KEK loaded, as the others have theirs in memory. */
async function openKeyfold(pairs: number, storePath: string): Promise<Cipher> {
  const keyfold = await openVariant("keyfold", pairs, storePath)
  for (let i = 0; i < CONTEXTS; i++) await keyfold.encrypt(new Uint8Array(1), i)
  return keyfold
}
