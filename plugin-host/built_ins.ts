/**
 * Takes from an isolate, before its plugins load, what no plugin needs and everything else rests on: Deno's inner door to its
 * raw operations, and the right to change the built-ins that this host itself works with.
 *
 * A plugin that tries gets a `TypeError` at the line that does it. This is against accidents (a polyfill, prototype pollution,
 * an instrumentation that wraps `JSON`), not a border between the plugins of one isolate: see `SECURITY.md`.
 *
 * @module
 */

/** Their bindings in the global scope are made constant. A plugin may wrap others, `fetch` for instance, for itself. */
const CONSTANT_GLOBALS = [
  "Array",
  "ArrayBuffer",
  "Atomics",
  "Deno",
  "Error",
  "JSON",
  "Map",
  "Number",
  "Object",
  "Promise",
  "SharedArrayBuffer",
  "String",
  "TextDecoder",
  "TextEncoder",
  "TypeError",
  "URL",
  "Uint8Array",
  "clearTimeout",
  "performance",
  "setTimeout",
] as const;

/**
 * Frozen: what frames, results and marks are made and read with. Measured on Deno 2.9.6, this costs nothing per call. Not here, because frozen
 * they make programs slower (`Array.prototype`: sparse arrays 20 times, `RegExp.prototype`: 8 times), break Deno's own `Buffer` (typed
 * arrays) or polyfills that add methods (`Map.prototype`, `Promise`).
 */
const FROZEN: readonly object[] = [
  JSON,
  Atomics,
  Promise.prototype,
  TextDecoder.prototype,
  TextEncoder.prototype,
  EventTarget.prototype,
  AbortSignal,
  Performance.prototype,
];

/**
 * @param inUse objects that the host goes on using; the classes they are of are frozen as well
 */
export function lockBuiltIns(...inUse: readonly object[]): void {
  const names = Deno as unknown as Record<PropertyKey, unknown>;
  delete names[names.internal as symbol];
  delete names.internal;
  // The process's stdin brings the gateway's commands to the main thread: whoever else reads from it takes them away. `process.stdin`
  // of Node reads by this object, and so finds it at its end.
  Object.defineProperty(Deno.stdin, "read", { value: () => Promise.resolve(null) });
  delete names.stdin;
  for (const each of FROZEN) Object.freeze(each);
  for (const each of inUse) {
    for (const prototype of prototypes(each)) Object.freeze(prototype);
  }
  // Nothing can be added to it: what is read from a message without being there is not found there either.
  Object.preventExtensions(Object.prototype);
  for (const name of CONSTANT_GLOBALS) {
    // With the value: Deno makes some of them when they are first read.
    const value = globalThis[name];
    Object.defineProperty(globalThis, name, { value, writable: false, configurable: false });
  }
}

/** The classes of an object, without `Object`. */
function* prototypes(value: object): Generator<object> {
  let prototype: object | null = Object.getPrototypeOf(value);
  while (prototype !== null && prototype !== Object.prototype) {
    yield prototype;
    prototype = Object.getPrototypeOf(prototype);
  }
}
