/**
 * The configuration: JSON with places, and what is made of it.
 *
 * @module
 */

import { join } from "@std/path";
import { loadConfig } from "../../../gateway/config.ts";
import { ConfigError } from "../../../gateway/config_report.ts";
import { JsonTextError, parseJsonText } from "../../../gateway/json_text.ts";
import { withoutComments } from "../../support/json_comments.ts";
import { template } from "../fuzzer.ts";
import { type FuzzTarget, law, utf8 } from "../target.ts";

const SECRET = "hush-hush";
const dir = Deno.makeTempDirSync({ prefix: "conduit-fuzz-" });
const file = join(dir, "conduit.config.json");
addEventListener("unload", () => Deno.removeSync(dir, { recursive: true }));

const jsonText: FuzzTarget = {
  name: "json_text",
  dictionary: [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    '"',
    "\\u",
    "\\ud83d",
    "\\",
    "true",
    "null",
    "1e5",
    "-0",
    "\t",
    "\n",
    "\r\n",
    "//",
    "/*",
    '"a":',
    "NaN",
    "01",
    "\u00a0",
  ],
  errors: [JsonTextError, SyntaxError],
  run(input) {
    const text = utf8(input);
    let expected: string | undefined;
    try {
      expected = JSON.stringify(JSON.parse(withoutComments(text)));
    } catch { /* then we refuse it too */ }
    try {
      const { value, repeatedKeys } = parseJsonText(text);
      law(expected !== undefined, "what JSON.parse refuses is taken, comments apart");
      if (repeatedKeys.length === 0 && !text.includes("\\")) {
        law(JSON.stringify(value) === expected, "JSON.parse reads another value");
      }
      return `${typeof value} ${Math.min(repeatedKeys.length, 3)}`;
    } catch (error) {
      if (!(error instanceof JsonTextError)) throw error;
      const isOurs = /a key other than "__proto__"|fits a double|levels of nesting/.test(
        error.message,
      );
      law(isOurs || expected === undefined, `what JSON.parse takes is refused: ${error.message}`);
      const lines = text.split(/\r\n|\r|\n/);
      law(error.line >= 1 && error.line <= lines.length, `line ${error.line} is not there`);
      law(error.column >= 1, `column ${error.column}`);
      throw error;
    }
  },
};

const config: FuzzTarget = {
  name: "config",
  isJson: true,
  dictionary: [
    "routes",
    "path",
    "upstream",
    "/a/*",
    "http://127.0.0.1:1",
    "https://[::1]:443",
    "${SECRET}",
    "${NOT_SET:-1}",
    "${",
    "$${",
    "*",
    "unix:/x",
    ":8080",
    "[::1]:0",
    "10.0.0.0/8",
    "x-*",
    "redis",
    "memory",
    "upstash",
    "GET",
    "*.example.com",
    "processes",
    "auto",
    "host",
    "methods",
    "plugins",
    "stripPrefix",
    "services",
    "cors",
    "forward",
    "allowedHosts",
    "pluginEnv",
    "pluginNet",
    "telemetry",
    "timeouts",
  ],
  errors: [ConfigError],
  async run(input) {
    await Deno.writeFile(file, input);
    const env = (name: string) => name === "SECRET" ? SECRET : undefined;
    try {
      const config = await loadConfig(file, { env });
      law(
        config.routes.every(({ path, upstreams }) => path.startsWith("/") && upstreams.length > 0),
        "a bad route",
      );
      const again = await loadConfig(file, { env });
      law(JSON.stringify(again) === JSON.stringify(config), "a second load gives another result");
      return `${config.routes.length} ${
        Object.keys(config).filter((key) => utf8(input).includes(`"${key}"`)).join()
      }`;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      law(error.problems.length > 0, "refused without a problem");
      law(!error.message.includes(SECRET), "a value from the environment is shown");
      const kinds = error.problems.map(({ message }) => template(message));
      return [...new Set(kinds)].sort().join().slice(0, 300);
    }
  },
};

export const CONFIG_TARGETS: readonly FuzzTarget[] = [jsonText, config];
