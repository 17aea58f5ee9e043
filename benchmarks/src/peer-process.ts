/** Works for one peer, in a process of its own. Started by compare.ts, which sends a task and waits for its answer. */
import { PEERS, type Peer } from "./peers/peers.ts"
import { type Cipher, CONTEXTS } from "./variants.ts"

export type Op = "encrypt" | "decrypt"
export type Task =
  | { readonly task: "open"; readonly pairs: number; readonly storePath: string }
  /** Sets the case of the turns that follow, checks a round trip and warms up. */
  | { readonly task: "prepare"; readonly bytes: number; readonly inflight: number; readonly warmUpMs: number }
  /** Answered with microseconds by operation. */
  | { readonly task: "turn"; readonly op: Op }
  | { readonly task: "close" }

/** A turn ends with the operation that passes this; a slow peer's turn is one operation for each caller. */
const TURN_MS = 20
/** Not counted, at the beginning of a turn: the caches are another process's, and a second has gone by. */
const LEAD_IN_MS = 2
/** Envelopes kept for decrypt take about this much at most. */
const KEPT_BYTES = 2 ** 25

const { open } = PEERS.find(({ name }) => name === process.argv[2]) as Peer
let cipher: Cipher
let plaintext = Buffer.alloc(0)
let inflight = 1
/** What decrypt opens: one for each of the first contexts. */
let sealed: unknown[] = []
/** Picks the next operation's context. */
let next = 0

process.on("message", async (task: Task) => {
  process.send?.(await answer(task))
})

async function answer(task: Task): Promise<number> {
  if (task.task === "open") {
    cipher = await open(task.pairs, task.storePath)
  } else if (task.task === "prepare") {
    await prepare(task.bytes, task.inflight, task.warmUpMs)
  } else if (task.task === "turn") {
    if (plaintext.length <= 65_536) await work(task.op, LEAD_IN_MS)
    return work(task.op, TURN_MS)
  } else {
    await cipher.close()
  }
  return 0
}

async function prepare(bytes: number, callers: number, warmUpMs: number): Promise<void> {
  plaintext = Buffer.alloc(bytes, "Text, because one of the peers takes nothing else. ")
  inflight = callers
  sealed = [await cipher.encrypt(plaintext, 0)]
  if (!plaintext.equals(cipher.plaintextOf(await cipher.decrypt(sealed[0], 0)))) {
    throw new Error("the round trip failed")
  }
  const most = Math.min(CONTEXTS, KEPT_BYTES / bytes)
  for (const until = performance.now() + warmUpMs; performance.now() < until; ) {
    await work("encrypt", TURN_MS)
    for (const enough = performance.now() + TURN_MS; sealed.length < most && performance.now() < enough; ) {
      sealed.push(await cipher.encrypt(plaintext, sealed.length))
    }
    await work("decrypt", TURN_MS)
  }
}

/** Lets so many callers work until the time is over. Gives microseconds by operation. */
async function work(op: Op, ms: number): Promise<number> {
  let done = 0
  const started = performance.now()
  const caller = async () => {
    do {
      const i = next++
      done++
      const slot = i % sealed.length
      const answer = op === "encrypt" ? cipher.encrypt(plaintext, i) : cipher.decrypt(sealed[slot], slot)
      if (answer instanceof Promise) await answer
    } while (performance.now() - started < ms)
  }
  await Promise.all(Array.from({ length: inflight }, caller))
  return ((performance.now() - started) * 1000) / done
}
