/**
 * What reaches the host's main thread: lines on stdin from the process that started it, and messages from the gateway.
 *
 * @module
 */

import type { Json } from "../protocol/snapshot.ts";

/** The first line on stdin. It holds the secrets that neither the command line nor the environment may show. */
export interface HostInit {
  readonly socket: string;
  readonly secret: string;
  readonly version: string;
  readonly poolSize: number;
  readonly loadTimeoutMs: number;
  readonly maxFrameBytes: number;
  readonly pluginConfig: { readonly [plugin: string]: Json };
  readonly env: Readonly<Record<string, string>>;
  /** What isolates may reach, in the words of `--allow-net`, without the socket. */
  readonly netHosts: readonly string[];
  /** The folder that holds the generations' folders. */
  readonly pluginsRoot: string;
}

/** Every later line on stdin. */
export interface LoadCommand {
  /** `dirUrl` is a file URL with a final `/`: the folder of this generation, which no longer changes. */
  readonly load: { readonly generation: number; readonly dirUrl: string };
}

/** The lines of a stream of JSON lines, parsed. Its far end is the process that started this one, so it is trusted. */
export async function* jsonLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<unknown> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") yield JSON.parse(line);
  }
}
