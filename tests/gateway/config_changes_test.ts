import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { type Config, loadConfig } from "../../gateway/config.ts";
import { refusedChanges } from "../../gateway/config_changes.ts";
import { configText, scratch } from "../support/conduit.ts";

Deno.test("what joins the gateway to a host service cannot change by a reload, and other keys can", async () => {
  await using dir = await scratch();
  const configOf = async (socket: string, settings: object = {}): Promise<Config> => {
    const file = join(dir.path, "c.json");
    await Deno.writeTextFile(
      file,
      configText({ runtime: { mode: "external", socket }, ...settings }),
    );
    return await loadConfig(file);
  };
  const old = await configOf("/run/a.sock");
  assertEquals(refusedChanges(old, await configOf("/run/a.sock", { pluginNet: ["a"] })), []);
  assertEquals(
    refusedChanges(old, await configOf("/run/b.sock", { maxFrameBytes: 4_194_304 })),
    [
      "runtime.socket: /run/a.sock cannot become /run/b.sock by a reload, since the plugin host service is connected by it; restart both",
      "maxFrameBytes: 8388608 cannot become 4194304 by a reload, since the plugin host service is connected by it; restart both",
    ],
  );
});
