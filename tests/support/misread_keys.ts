/**
 * A fault of V8 15.0 (Deno 2.9.6; Node 20 is without it) that properties about JSON must keep clear of: once an object
 * with a key that ends in a backslash was parsed, a key of a like object that ends in a quote instead is misread as it.
 *
 *     JSON.parse('{"a":1,"\\\\":1}');
 *     Object.keys(JSON.parse('{"a":1,"\\"":1}')); // ["a", "\\"], not ["a", '"']
 *
 * @module
 */

/** Whether `text`, JSON or nearly so, has a key that ends in a quote. */
export function mayBeMisread(text: string): boolean {
  return /\\""\s*:/.test(text);
}
