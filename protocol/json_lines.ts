/**
 * JSON lines: what a process that starts another one tells it over stdin.
 *
 * @module
 */

const encoder = new TextEncoder();

/** One line holding `value`. */
export function encodeJsonLine(value: object): Uint8Array<ArrayBuffer> {
  return encoder.encode(`${JSON.stringify(value)}\n`);
}

/** The lines of a stream, parsed. Its far end is the process that started this one, so it is trusted. */
export async function* jsonLines(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<unknown> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") yield JSON.parse(line);
  }
}
