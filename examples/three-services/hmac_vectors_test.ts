import { assert, assertEquals } from "@std/assert";
import vectors from "./hmac_vectors.json" with { type: "json" };
import { stringToSign, verify } from "./plugins/001-session-hmac.ts";
import { signed } from "./session_client.ts";

const NO_OPENSSL = await isThere("openssl") ? "" : " (ignored: no openssl on this machine)";

async function isThere(command: string): Promise<boolean> {
  try {
    return (await new Deno.Command(command, { args: ["version"] }).output()).success;
  } catch {
    return false;
  }
}

/** What `openssl dgst` with these arguments makes of `text`, in hex. */
async function digest(text: string, ...args: string[]): Promise<string> {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, text);
    const command = new Deno.Command("openssl", { args: ["dgst", "-sha256", ...args, "-r", file] });
    const { success, stdout, stderr } = await command.output();
    assert(success, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout).split(" ")[0] ?? "";
  } finally {
    await Deno.remove(file);
  }
}

for (const vector of vectors) {
  const { name, secret, timestamp, nonce, body, bodySha256, signature } = vector;

  Deno.test(`HMAC vector "${name}": the client signs so`, async () => {
    const { method, path, query } = vector;
    const { headers } = await signed(
      { sessionId: "session", secret },
      { method, target: query ? `${path}?${query}` : path, ...(body ? { body } : {}) },
      { now: Number(timestamp) * 1000 + 999, nonce },
    );
    assertEquals(headers, {
      authorization: "Session session",
      "x-timestamp": timestamp,
      "x-nonce": nonce,
      "x-signature": signature,
      ...(body ? { "x-content-sha256": bodySha256 } : {}),
    });
  });

  Deno.test(`HMAC vector "${name}": the plugin takes it, and no other signature, secret or text`, async () => {
    const text = stringToSign(vector);
    assertEquals(text, vector.stringToSign);
    assert(await verify(signature, { text, secret }));
    for (let at = 0; at < signature.length; at++) {
      const turned = (parseInt(signature[at] ?? "", 16) ^ 1).toString(16);
      const other = signature.slice(0, at) + turned + signature.slice(at + 1);
      assert(!await verify(other, { text, secret }));
    }
    assert(!await verify(signature, { text, secret: `${secret} ` }));
    assert(!await verify(signature, { text: `${text}\n`, secret }));
  });

  Deno.test({
    name: `HMAC vector "${name}": openssl comes to the same${NO_OPENSSL}`,
    ignore: NO_OPENSSL !== "",
    fn: async () => {
      const key = new TextEncoder().encode(secret).toHex();
      assertEquals(await digest(body), bodySha256);
      assertEquals(
        await digest(vector.stringToSign, "-mac", "HMAC", "-macopt", `hexkey:${key}`),
        signature,
      );
    },
  });
}
