/** All of a stream of at most `maxBytes`. @throws what `tooLong` makes */
export async function readAll(
  stream: ReadableStream<Uint8Array>,
  maxBytes: number,
  tooLong: () => Error,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of stream) {
    length += chunk.length
    if (length > maxBytes) throw tooLong()
    chunks.push(chunk)
  }
  return new Uint8Array(Buffer.concat(chunks))
}

/** The first `length` bytes, or fewer where there are no more, and a stream that still has all. */
export async function peek(
  stream: ReadableStream<Uint8Array>,
  length: number,
): Promise<{ readonly head: Uint8Array; readonly stream: ReadableStream<Uint8Array> }> {
  const reader = stream.getReader()
  const chunks: Uint8Array[] = []
  let have = 0
  while (have < length) {
    const { done, value } = await reader.read()
    if (done) break
    chunks.push(value)
    have += value.length
  }
  const head = new Uint8Array(Buffer.concat(chunks))
  const whole = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        if (head.length > 0) controller.enqueue(head)
      },
      async pull(controller) {
        const { done, value } = await reader.read()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
  return { head: head.subarray(0, length), stream: whole }
}

/** One stream after another array of bytes. */
export function prefixed(first: Uint8Array, rest: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  return ReadableStream.from(
    (async function* () {
      yield first
      yield* rest
    })(),
  ) as ReadableStream<Uint8Array>
}

/** A stream without its first `length` bytes. */
export function without(length: number, stream: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  let left = length
  return stream.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        const rest = chunk.subarray(Math.min(left, chunk.length))
        left -= chunk.length - rest.length
        if (rest.length > 0) controller.enqueue(rest)
      },
    }),
  )
}
