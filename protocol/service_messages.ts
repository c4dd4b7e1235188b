/**
 * The messages between a gateway and `conduit host`, which starts plugin hosts where the gateway does not, with the strict decoders for both.
 *
 * @module
 */

import {
  arrayOf,
  count,
  decodeAs,
  type Decoded,
  type Decoder,
  json,
  literal,
  mapOf,
  object,
  optional,
  string,
  union,
} from "./decode.ts";
import type { HostStart } from "./host_stdin.ts";
import { hello, refused } from "./messages.ts";

const fromService = union("type", {
  hello,
  /**
   * What lies in its plugins folder, after `hello` and after each save: SHA-256 of each file in hex, and a name for them all. `lastLive` is
   * the set that went live last, also for another gateway.
   */
  files: object({
    type: literal("files"),
    hash: string,
    files: mapOf(string),
    lastLive: optional(object({ hash: string, files: mapOf(string) })),
  }),
  /** A host has ended, or could not be started. */
  host_ended: object({ type: literal("host_ended"), host: count, reason: string }),
});

const hostStart: Decoder<HostStart> = object({
  secret: string,
  version: string,
  poolSize: count,
  loadTimeoutMs: count,
  maxFrameBytes: count,
  pluginConfig: mapOf(json),
});

const toService = union("type", {
  refused,
  /**
   * Start a host that can load this state of the folder, and give it these lines on stdin. `hosts` and `env` are what the
   * gateway takes it to be permitted; the service derives the permissions from its own configuration and refuses where that says otherwise.
   */
  start_host: object({
    type: literal("start_host"),
    host: count,
    files: string,
    hosts: arrayOf(string),
    env: arrayOf(string),
    init: hostStart,
  }),
  load: object({ type: literal("load"), host: count, generation: count, files: string }),
  kill_host: object({ type: literal("kill_host"), host: count }),
  /** This state of the folder serves now. */
  live: object({ type: literal("live"), files: string }),
});

export type FromService = Decoded<typeof fromService>;
export type ToService = Decoded<typeof toService>;

/** Decodes what a host service sends. @throws {MessageError} */
export const decodeFromService: (value: object) => FromService = decodeAs(fromService, "message");
/** Decodes what the gateway sends to a host service. @throws {MessageError} */
export const decodeToService: (value: object) => ToService = decodeAs(toService, "message");
