import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { configText, scratch } from "../support/conduit.ts";
import { isRunning, ROOT } from "../support/gateway.ts";
import { descendants } from "../support/proc.ts";

const { success: hasScript } = await new Deno.Command("sh", { args: ["-c", "command -v script"] })
  .output();
if (!hasScript) console.log("IGNORED: without script(1) there is no terminal to be closed");

for (const command of ["run", "dev"]) {
  Deno.test({
    name:
      `SIGHUP to conduit ${command} in a terminal reloads, and ends it where the terminal has been closed`,
    ignore: !hasScript,
    async fn() {
      await using dir = await scratch({
        "conduit.config.json": configText({ log: { format: "text" } }),
        "plugins/.keep": "",
        "run/.keep": "",
      });
      const words = [Deno.execPath(), "run", "-A", join(ROOT, "main.ts"), command];
      const terminal = new Deno.Command("script", {
        args: ["-q", "-e", "-c", `exec ${words.map((word) => `'${word}'`).join(" ")}`, "/dev/null"],
        cwd: dir.path,
        env: { XDG_RUNTIME_DIR: join(dir.path, "run"), NO_COLOR: "1" },
        stdin: "piped",
        stdout: "piped",
      }).spawn();
      let text = "";
      const reading = (async () => {
        for await (const piece of terminal.stdout.pipeThrough(new TextDecoderStream())) {
          text += piece;
        }
      })();
      const says = async (what: RegExp) => {
        for (const limit = Date.now() + 20_000; !what.test(text);) {
          assert(Date.now() < limit, text);
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
      };
      await says(/ ready /);
      const below = await descendants(terminal.pid);
      const gateway = Number(/ pid=(\d+)/.exec(text)?.[1]);
      assert(below.includes(gateway) && below.length > 1, text);
      Deno.kill(gateway, "SIGHUP");
      await says(/configuration reloaded/);
      // With the process that holds the other end, the terminal is gone.
      terminal.kill("SIGKILL");
      await terminal.status;
      await reading;
      for (const limit = Date.now() + 20_000;;) {
        const left = [];
        for (const pid of below) if (await isRunning(pid)) left.push(pid);
        if (left.length === 0) break;
        assert(Date.now() < limit, `${left} still run`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      assertEquals([...Deno.readDirSync(join(dir.path, "run"))].map(({ name }) => name), [".keep"]);
      await terminal.stdin.close().catch(() => {});
    },
  });
}
