/**
 * Header fields on their way through: a client's and an upstream's hygiene, what plugins proposed laid over them, and the
 * strict reading of a response head; beside a plain copy.
 *
 * @module
 */

import { requestHeaderMap, responseHeaderMap, stripMatcher } from "../../gateway/headers.ts";
import { ReadBuffer } from "../../gateway/upstream/read_buffer.ts";
import { HeadParser } from "../../gateway/upstream/reader.ts";
import { applyOverrides } from "../../protocol/headers.ts";
import { NEXT_DRAFT, REQUEST_FIELDS, RESPONSE_FIELDS } from "./inputs.ts";

const headers = new Headers({ ...REQUEST_FIELDS });
const strip = stripMatcher(["x-gateway-*"]);
const map = requestHeaderMap(headers, { strip });
const text = `HTTP/1.1 200 OK\r\n${
  RESPONSE_FIELDS.map(([name, value]) => `${name}: ${value}\r\n`).join("")
}\r\n`;
const bytes = new TextEncoder().encode(text);

Deno.bench("request: Headers as an object", { group: "request", baseline: true }, () => {
  const copy: Record<string, string> = {};
  headers.forEach((value, name) => copy[name] = value);
});

Deno.bench("request: requestHeaderMap", { group: "request" }, () => {
  requestHeaderMap(headers, { strip });
});

Deno.bench("request: applyOverrides", { group: "request" }, () => {
  applyOverrides(map, NEXT_DRAFT.upstream.headers);
});

Deno.bench("response: head cut into lines", { group: "response", baseline: true }, () => {
  const lines = new TextDecoder().decode(bytes).split("\r\n");
  for (const line of lines) line.indexOf(":");
});

Deno.bench("response: HeadParser", { group: "response" }, () => {
  const input = new ReadBuffer();
  input.room().set(bytes);
  input.end = bytes.length;
  if (new HeadParser().parse(input) === undefined) throw new Error("the head is not complete");
});

Deno.bench("response: responseHeaderMap", { group: "response" }, () => {
  responseHeaderMap(RESPONSE_FIELDS);
});
