import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { scratch } from "../support/conduit.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { hostServiceOf } from "../support/host_service.ts";
import { PATIENT } from "../support/patient.ts";

const version = (text: string) =>
  `export default { afterResponse(ctx) { ctx.response.setHeader("x-version", "${text}"); } };`;

async function untilVersion(gateway: TestGateway, text: string): Promise<void> {
  await gateway.until(async () => {
    const { headers, body } = await gateway.fetch("/");
    await body?.cancel();
    return headers.get("x-version") === text;
  }, { what: `version ${text}`, withinMs: 20_000 });
}

async function remade(gateway: TestGateway, from: number): Promise<void> {
  const gone = "the plugin socket is gone; it is made anew";
  await gateway.waitForLog(({ message }) => message === gone, { from });
  await gateway.waitForLog(({ message }) => message === "the plugin socket is there again", {
    from,
  });
}

Deno.test("external runtime: the socket or its secret taken away is made anew; saves, deaths and restarts of the service are as ever", async () => {
  await using upstream = echoUpstream();
  await using dir = await scratch({ "sockets/.keep": "" });
  const [folder, socket] = [join(dir.path, "sockets"), join(dir.path, "sockets/host.sock")];
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      pluginPoolSize: 1,
      runtime: { mode: "external", socket },
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: { "001-version.ts": version("one") },
  });
  let service = hostServiceOf(gateway);
  try {
    await untilVersion(gateway, "one");

    // A save meanwhile does not load, and is not forgotten.
    await Deno.remove(socket);
    await gateway.savePlugin("001-version.ts", version("two"));
    await untilVersion(gateway, "two");
    await remade(gateway, 0);

    // A host that dies meanwhile.
    let from = gateway.logs.length;
    await Deno.remove(socket);
    for (const pid of await service.hosts()) Deno.kill(pid, "SIGKILL");
    await remade(gateway, from);
    await untilVersion(gateway, "two");

    // The folder with all that is in it, which comes back empty: as for `RuntimeDirectory=`.
    from = gateway.logs.length;
    await Deno.rename(folder, `${folder}.away`);
    const line = await gateway.waitForLog(
      ({ message }) => message === "the plugin socket cannot be made anew",
      { from },
    );
    assertEquals(line.level, "error");
    await Deno.mkdir(folder, { mode: 0o700 });
    await remade(gateway, from);
    await service[Symbol.asyncDispose]();
    service = hostServiceOf(gateway);
    await gateway.waitForLog(({ message }) => message === "the plugin host is back", { from });
    await untilVersion(gateway, "two");
    gateway.signal("SIGTERM");
    assertEquals((await gateway.status).code, 0);
    assertEquals([...Deno.readDirSync(folder)], []);
  } finally {
    await service[Symbol.asyncDispose]();
  }
});
