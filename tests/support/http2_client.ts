/**
 * One request by HTTP/2 in clear text, by a client that takes nothing which is no HTTP/2.
 *
 * @module
 */

import { connect } from "node:http2";

export interface Http2Answer {
  readonly status: number;
  readonly fields: Readonly<Record<string, unknown>>;
  /** One character for each byte. */
  readonly body: string;
}

/** @throws where the stream or its connection breaks, as by a length that is not that of the body (RFC 9113 §8.1.1) */
export async function http2Answer(
  url: string,
  { method = "GET", path = "/", fields = {}, body = "" }: {
    readonly method?: string;
    readonly path?: string;
    readonly fields?: Readonly<Record<string, string>>;
    readonly body?: string;
  },
): Promise<Http2Answer> {
  const session = connect(url);
  try {
    return await new Promise((resolve, reject) => {
      const length = body ? { "content-length": String(body.length) } : {};
      const target = { ":method": method, ":path": path, ":authority": "a", host: "a" };
      const stream = session.request({ ...target, ...length, ...fields }, { endStream: !body });
      let head: Readonly<Record<string, unknown>> = {};
      let text = "";
      stream.setEncoding("latin1");
      stream.on("response", (answer: Readonly<Record<string, unknown>>) => head = answer);
      stream.on("data", (piece: string) => text += piece);
      stream.on(
        "end",
        () => resolve({ status: Number(head[":status"]), fields: head, body: text }),
      );
      for (const each of [stream, session]) each.on("error", reject);
      if (body) stream.end(body);
    });
  } finally {
    session.destroy();
  }
}
