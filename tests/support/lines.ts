/**
 * What a process says, line by line.
 *
 * @module
 */

/** The lines of a stream, also a last one without an end. It fails when `signal` aborts. */
export async function* lines(
  stream: ReadableStream<Uint8Array>,
  signal?: AbortSignal,
): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream(), signal && { signal })) {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
  if (rest !== "") yield rest;
}
