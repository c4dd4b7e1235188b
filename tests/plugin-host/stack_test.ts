import { assertEquals } from "@std/assert";
import { authorStack, setPluginsFolder } from "../../plugin-host/stack.ts";

Deno.test("a stack shows places in the plugins folder and in packages, and no frame of the host or of Deno", () => {
  const stack = `TypeError: at odds with
    at file:///work/plugin-host/fake.ts
    at boom (file:///run/my gate/plugins/0f/lib/_h.ts:5:9)
    at async Object.beforeRequest (file:///run/my%20gate/plugins/0f/001-a.ts:14:36)
    at Array.map (<anonymous>)
    at verify (file:///cache/npm/registry.npmjs.org/jose/6.2.17/dist/jws.js:3:1)
    at ext:core/01_core.js:1:1
    at node:timers:2:2
    at file:///work/plugin-host/hook_runner.ts:66:51`;
  assertEquals(authorStack(stack), stack, "as it is, while no folder is set");
  setPluginsFolder(new URL("file:///run/my%20gate/plugins/0f/"));
  assertEquals(
    authorStack(stack),
    `TypeError: at odds with
    at boom (lib/_h.ts:5:9)
    at async Object.beforeRequest (001-a.ts:14:36)
    at Array.map (<anonymous>)
    at verify (npm:jose/6.2.17/dist/jws.js:3:1)`,
  );
});
