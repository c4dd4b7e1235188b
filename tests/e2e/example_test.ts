import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { exampleTokens } from "../../examples/three-services/example.ts";
import { tries } from "../../examples/three-services/try.ts";
import { isRunning, ROOT } from "../support/gateway.ts";

/** `dev.ts` as a person runs it, but for the ports. */
async function runningExample() {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", join(ROOT, "examples/three-services/dev.ts"), "--free-ports"],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const output = { text: "" };
  const said = Promise.withResolvers<string>();
  const reading = (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      output.text += text;
      const baseUrl = /The gateway listens on (\S+)\. [^]*Ctrl-C ends all of it/.exec(output.text);
      if (baseUrl?.[1]) said.resolve(baseUrl[1]);
    }
    said.reject(new Error(`dev.ts ended: ${output.text}`));
  })();
  return {
    child,
    output,
    baseUrl: await said.promise,
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended by itself, as it should.
      }
      await reading;
      await child.status;
    },
  };
}

async function curl(args: readonly string[]): Promise<string> {
  const { stdout } = await new Deno.Command("curl", { args: ["-sS", ...args] }).output();
  return new TextDecoder().decode(stdout);
}

/** Every process below this one. */
async function descendants(pid: number): Promise<number[]> {
  const text = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`).catch(() => "");
  const children = text.split(" ").filter(Boolean).map(Number);
  return [...children, ...(await Promise.all(children.map(descendants))).flat()];
}

Deno.test("the example does what each printed line of curl says, and Ctrl-C ends and frees everything", async (t) => {
  await using example = await runningExample();
  const { baseUrl, child, output } = example;
  for (
    const { title, args, expectStatus, shows = [], hides = [] } of tries(baseUrl, exampleTokens())
  ) {
    await t.step(title, async () => {
      assertStringIncludes(output.text, title);
      const answer = await curl(args);
      assertEquals(Number(answer.split(" ")[1]), expectStatus, answer);
      for (const text of shows) assertStringIncludes(answer, text);
      for (const text of hides) assert(!answer.includes(text), `${text} is in ${answer}`);
    });
  }
  await t.step("Ctrl-C", async () => {
    const processes = await descendants(child.pid);
    assert(processes.length >= 2, `${processes}`);
    child.kill("SIGINT");
    assertEquals((await child.status).code, 0, output.text);
    for (const pid of processes) assert(!await isRunning(pid));
    // Free, and so to be had: a listener that is left would make this throw.
    Deno.listen({ hostname: "127.0.0.1", port: Number(new URL(baseUrl).port) }).close();
  });
});

Deno.test("conduit dev tells in x-conduit-* headers which way a response of the example took", async () => {
  await using example = await runningExample();
  const token = exampleTokens().alice;
  const response = await fetch(`${example.baseUrl}/beta/chat-service/messages`, {
    headers: { authorization: `Bearer ${token}` },
  });
  await response.body?.cancel();
  assertEquals(response.headers.get("x-conduit-route"), "/beta/*");
  assertStringIncludes(
    response.headers.get("x-conduit-plugins") ?? "",
    "004-route-control;beforeRequest=forward",
  );
  example.child.kill("SIGTERM");
  assertEquals((await example.child.status).code, 0);
});
