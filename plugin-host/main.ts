/**
 * The plugin host, a process of its own with the permissions that `gateway/sandbox.ts` derives. It ends when its stdin or
 * its connection to the gateway ends: there are no orphans.
 *
 * @module
 */

import { Connection } from "../protocol/connection.ts";
import type { HostInit, LoadCommand } from "../protocol/host_stdin.ts";
import { jsonLines } from "../protocol/json_lines.ts";
import {
  decodeToHost,
  type FromHost,
  PROTOCOL_VERSION,
  type ToHost,
} from "../protocol/messages.ts";
import { IsolatePool } from "./pool.ts";

const commands = jsonLines(Deno.stdin.readable);
const { value: first, done } = await commands.next();
if (done) Deno.exit(0);
const init = first as HostInit;

const socket = await Deno.connect({ transport: "unix", path: init.socket });
const connection = new Connection<FromHost>(socket, { maxFrameBytes: init.maxFrameBytes });
const pool = new IsolatePool({
  ...init,
  permissions: {
    net: [...init.netHosts, `unix:${init.socket}`],
    read: [init.pluginsRoot, init.socket],
    write: [init.socket],
    env: Object.keys(init.env).length > 0 ? Object.keys(init.env) : false,
    run: false,
    ffi: false,
    sys: false,
    import: false,
  },
  send: (message) => connection.send(message),
});

connection.send({
  type: "hello",
  protocol: PROTOCOL_VERSION,
  role: "host",
  generation: 0,
  pid: Deno.pid,
  version: init.version,
  secret: init.secret,
});
void connection.receive((message) => accept(decodeToHost(message))).finally(() => Deno.exit(0));

for await (const command of commands) {
  const { load } = command as LoadCommand;
  void pool.load(load.generation, load.dirUrl);
}
Deno.exit(0);

function accept(message: ToHost): void {
  switch (message.type) {
    case "ping":
      return connection.send({ type: "pong", id: message.id, ...pool.progress() });
    case "replace":
      return void pool.replace(message.isolate, message.reason);
    case "retire":
      return pool.retire(message.generation);
    case "refused":
      console.error(`the gateway refused this plugin host: ${message.reason}`);
      return Deno.exit(1);
    case "shutdown":
      return Deno.exit(0);
  }
}
