/**
 * The canonical path, beside `new URL`, which normalises too (and differently).
 *
 * @module
 */

import { rawTarget } from "../../gateway/path.ts";
import { canonicalPath } from "../../protocol/path.ts";

const PLAIN = "/chat-service/rooms/12/messages?after=2026-11-23&limit=50";
const ESCAPED = "/chat-service/r%c3%a4ume/%7Ealice//x/../messages?q=a%20b";
const url = `http://api.example.com${PLAIN}`;

Deno.bench("new URL, plain", { group: "plain", baseline: true }, () => {
  new URL(url);
});

Deno.bench("rawTarget and canonicalPath, plain", { group: "plain" }, () => {
  canonicalPath(rawTarget(url));
});

Deno.bench("new URL, escapes and dot segments", { group: "escaped", baseline: true }, () => {
  new URL(`http://api.example.com${ESCAPED}`);
});

Deno.bench("canonicalPath, escapes and dot segments", { group: "escaped" }, () => {
  canonicalPath(ESCAPED);
});
