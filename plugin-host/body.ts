/**
 * Bodies as hooks read them: a `BodyInfo` that may carry the bytes, and the readers `text()`, `json()` and `bytes()`.
 *
 * @module
 */

import type { BodyInfo, DraftBody, Json } from "../protocol/snapshot.ts";
import { toJson } from "./json.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * The bytes of an inline body; none for an absent one.
 *
 * @throws {TypeError} saying why they are not here
 */
export function bodyBytes(body: BodyInfo): Uint8Array {
  if (body.kind === "none") return new Uint8Array(0);
  if (body.kind === "reference") {
    throw new TypeError(
      `the body is ${body.ref}, of which hooks see the metadata only: it is over bodies.inlineLimitBytes or a stream, or the plugins say readsBodies: false`,
    );
  }
  if (body.base64 === undefined) {
    throw new TypeError(
      "the body was not sent to this hook, since its plugin says readsBodies: false",
    );
  }
  return Uint8Array.fromBase64(body.base64);
}

/** @throws {TypeError} */
export function bodyText(body: BodyInfo): string {
  return decoder.decode(bodyBytes(body));
}

/** @throws {TypeError | SyntaxError} */
export function bodyJson(body: BodyInfo): Json {
  return JSON.parse(bodyText(body));
}

/** What a plugin sees as metadata: the bytes stay behind the readers. */
export function bodyMetadata(body: BodyInfo): BodyInfo {
  return Object.freeze(
    body.kind === "inline" ? { kind: body.kind, sizeBytes: body.sizeBytes } : { ...body },
  );
}

/** A body that a plugin set, as later hooks read it. */
export function draftBodyInfo(body: DraftBody): BodyInfo {
  const bytes = body.encoding === "utf8"
    ? encoder.encode(body.data)
    : Uint8Array.fromBase64(body.data);
  return { kind: "inline", sizeBytes: bytes.length, base64: bytes.toBase64() };
}

/** @throws {TypeError} for what is no body */
export function toDraftBody(
  body: unknown,
): { readonly draft: DraftBody; readonly isJson: boolean } {
  if (typeof body === "string") return { draft: { encoding: "utf8", data: body }, isJson: false };
  if (body instanceof Uint8Array) {
    return { draft: { encoding: "base64", data: body.toBase64() }, isJson: false };
  }
  if (typeof body === "object" && body !== null) {
    return {
      draft: { encoding: "utf8", data: JSON.stringify(toJson(body, "the body")) },
      isJson: true,
    };
  }
  throw new TypeError("setBody takes a string, a Uint8Array or a JSON object");
}
