/** Waiting that ends with a signal, and calls in flight that several share. */
import { getEventListeners } from "node:events"
import { describe, expect, test } from "vitest"
import { orAborted } from "../src/or-aborted.ts"
import { SingleFlight } from "../src/single-flight.ts"

/** An answer that is given by hand. */
function question<T>() {
  return Promise.withResolvers<T>()
}
const settled = () => new Promise((resolve) => setTimeout(resolve))

describe("an answer or an abort, whichever is first", () => {
  test("an answer, also one that is there at once, or a failure", async () => {
    const { signal } = new AbortController()
    const late: unknown[] = []
    const discard = (value: unknown) => void late.push(value)
    expect(await orAborted("now", signal, discard)).toBe("now")
    expect(await orAborted(Promise.resolve("soon"), signal, discard)).toBe("soon")
    await expect(orAborted(Promise.reject(new Error("no")), signal, discard)).rejects.toThrow("no")
    await settled()
    expect(getEventListeners(signal, "abort")).toEqual([])
    expect(late).toEqual([])
  })

  test("an abort, with its reason; what comes later is discarded", async () => {
    const controller = new AbortController()
    const { signal } = controller
    const late: unknown[] = []
    const { promise, resolve } = question<string>()
    const waiting = orAborted(promise, signal, (value) => void late.push(value))
    expect(getEventListeners(signal, "abort")).toHaveLength(1)
    controller.abort("enough")
    await expect(waiting).rejects.toBe("enough")
    expect(late).toEqual([])
    resolve("too late")
    await settled()
    expect(late).toEqual(["too late"])
    expect(getEventListeners(signal, "abort")).toEqual([])
    // Where nobody cares for what comes late.
    await expect(orAborted("x", signal)).rejects.toBe("enough")
  })

  test("an abort beforehand", async () => {
    const late: unknown[] = []
    const signal = AbortSignal.abort("before")
    await expect(orAborted("x", signal, (value) => void late.push(value))).rejects.toBe("before")
    await settled()
    expect(late).toEqual(["x"])
  })
})

describe("a call in flight", () => {
  function setUp() {
    const flights = new SingleFlight<string>()
    const started: {
      key: string
      signal: AbortSignal
      resolve(value: string): void
      reject(e: unknown): void
    }[] = []
    const run = (key: string, signal?: AbortSignal, maxAgeMs = 1000) =>
      flights.run(key, signal, maxAgeMs, (signal) => {
        const { promise, resolve, reject } = question<string>()
        started.push({ key, signal, resolve, reject })
        return promise
      })
    return { flights, started, run }
  }

  test("is shared under its key, until it is over", async () => {
    const { flights, started, run } = setUp()
    const all = [run("a"), run("a"), run("b")]
    expect(started.map(({ key }) => key)).toEqual(["a", "b"])
    expect([flights.has("a"), flights.has("b"), flights.has("c")]).toEqual([true, true, false])
    started[0]?.resolve("of a")
    started[1]?.resolve("of b")
    expect(await Promise.all(all)).toEqual(["of a", "of a", "of b"])
    expect([flights.has("a"), flights.has("b")]).toEqual([false, false])
    run("a")
    expect(started).toHaveLength(3)
  })

  test("that fails, fails for all who wait and is over", async () => {
    const { flights, started, run } = setUp()
    const all = [run("a"), run("a")]
    started[0]?.reject(new Error("down"))
    for (const each of all) await expect(each).rejects.toThrow("down")
    expect(flights.has("a")).toBe(false)
  })

  test("is joined by nobody once it is too old; its end does not end the one after it", async () => {
    const { flights, started, run } = setUp()
    const first = run("a")
    await new Promise((resolve) => setTimeout(resolve, 30))
    const second = run("a", undefined, 20)
    const third = run("a", undefined, 1000)
    expect(started).toHaveLength(2)
    started[0]?.resolve("old")
    expect(await first).toBe("old")
    expect(flights.has("a")).toBe(true)
    started[1]?.resolve("new")
    expect(await Promise.all([second, third])).toEqual(["new", "new"])
    expect(flights.has("a")).toBe(false)
  })

  test("is left by who gives up, and aborted once nobody waits, with the last one's reason", async () => {
    const { flights, started, run } = setUp()
    const [one, two] = [new AbortController(), new AbortController()]
    const leaving = [run("a", one.signal), run("a", two.signal)]
    one.abort("first")
    await expect(leaving[0]).rejects.toBe("first")
    expect([started[0]?.signal.aborted, flights.has("a")]).toEqual([false, true])
    two.abort("second")
    await expect(leaving[1]).rejects.toBe("second")
    expect([started[0]?.signal.aborted, started[0]?.signal.reason]).toEqual([true, "second"])
    expect(flights.has("a")).toBe(false)
    const again = run("a")
    expect(started).toHaveLength(2)
    started[1]?.resolve("again")
    expect(await again).toBe("again")
  })

  test("keeps no listener of a caller, and one who came with an aborted signal leaves at once", async () => {
    const { started, run } = setUp()
    const { signal } = new AbortController()
    const staying = run("a", signal)
    await expect(run("a", AbortSignal.abort("before"))).rejects.toBe("before")
    expect([started.length, started[0]?.signal.aborted]).toEqual([1, false])
    expect(getEventListeners(signal, "abort")).toHaveLength(1)
    started[0]?.resolve("x")
    expect(await staying).toBe("x")
    expect(getEventListeners(signal, "abort")).toEqual([])
    await expect(run("b", AbortSignal.abort("before"))).rejects.toBe("before")
    expect(started[1]?.signal.aborted).toBe(true)
  })
})
