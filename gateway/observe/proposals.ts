/**
 * What a hook proposed, as fields of a log record: `upstream.headers.x-user=alice`, `response.status=418`. `null` stands
 * for what it removes, `+` behind a name for what it adds to. Values that look like secrets are masked, long ones cut, and
 * of bodies there is the size.
 *
 * @module
 */

import type { HookResult } from "../../protocol/messages.ts";
import type { Patch } from "../../protocol/patch.ts";
import type { DraftBody, HeaderChange, Json } from "../../protocol/snapshot.ts";
import type { LogFields } from "../log.ts";
import { isSecretName, MASK, maskedUrl } from "../masking.ts";

const MAX_VALUE = 120;

/** The fields for one result. Where a hook proposed nothing there are none. */
export function proposal(result: HookResult): LogFields {
  const fields: Record<string, unknown> = {};
  if (result.action === "continue") return fields;
  if (result.action === "reject") {
    fields.reject = cut(`${result.status} ${result.message}`);
    addHeaders(fields, "reject.headers", result.headers);
  }
  if (result.action === "forward") fields.forward = cut(maskedUrl(result.url));
  addPatch(fields, result.patch ?? {});
  return fields;
}

function addPatch(fields: Record<string, unknown>, { upstream, response, user, state }: Patch) {
  if (upstream?.path !== undefined) fields["upstream.path"] = cut(upstream.path);
  if (upstream?.query !== undefined) {
    fields["upstream.query"] = upstream.query === null
      ? null
      : cut(maskedUrl(`?${upstream.query}`).slice(1));
  }
  addHeaders(fields, "upstream.headers", upstream?.headers);
  if (response?.status !== undefined) fields["response.status"] = response.status;
  addHeaders(fields, "response.headers", response?.headers);
  if (response?.body !== undefined) fields["response.body"] = response.body && size(response.body);
  if (user !== undefined) fields.user = shown("user", user);
  for (const [key, value] of Object.entries(state ?? {})) {
    fields[fieldName("state", key)] = shown(key, value);
  }
}

function addHeaders(
  fields: Record<string, unknown>,
  side: string,
  headers: { readonly [name: string]: HeaderChange | null } = {},
): void {
  for (const [name, change] of Object.entries(headers)) {
    const appended = typeof change === "object" && change !== null && "append" in change;
    const values: HeaderChange | null = appended ? change.append : change;
    const isRemoval = values === null || values.length === 0 && typeof values !== "string";
    fields[fieldName(side, name) + (appended ? "+" : "")] = isRemoval
      ? null
      : shown(name, typeof values === "string" || values.length > 1 ? values : values[0] ?? "");
  }
}

function shown(name: string, value: Json): Json {
  if (value === null) return null;
  if (isSecretName(name)) return MASK;
  if (typeof value === "string") return cut(value);
  const text = JSON.stringify(
    value,
    (key, each) => key !== "" && isSecretName(key) ? MASK : each,
  );
  return text.length > MAX_VALUE ? cut(text) : JSON.parse(text);
}

/** Names come from plugins: what is not plain is quoted, so that a field's end can be told. */
function fieldName(section: string, name: string): string {
  return `${section}.${/^[\w.:-]+$/.test(name) ? name : JSON.stringify(cut(name))}`;
}

function size({ encoding, data }: DraftBody): string {
  const sizeBytes = encoding === "utf8"
    ? new TextEncoder().encode(data).length
    : Math.floor(data.replace(/=+$/, "").length * 3 / 4);
  return `${sizeBytes} bytes`;
}

function cut<T extends string | null>(text: T): T | string {
  return text !== null && text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)}…` : text;
}
