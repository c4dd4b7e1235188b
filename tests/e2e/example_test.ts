import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { exampleConfig, startServices } from "../../examples/three-services/example.ts";
import { ApiClient, asAdmin, signed } from "../../examples/three-services/session_client.ts";
import { tries } from "../../examples/three-services/try.ts";
import { conduit, scratch } from "../support/conduit.ts";
import { isRunning, ROOT, type TestGateway, testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { rawExchange } from "../support/raw_conversation.ts";
import { NO_REDIS, RedisServer } from "../support/redis_server.ts";
import { until } from "../support/until.ts";

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
  const token = await new ApiClient(baseUrl).adminLogin("root", "toor");
  for (const { title, args, expectStatus, shows = [], hides = [] } of tries(baseUrl, token)) {
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
  const client = new ApiClient(example.baseUrl);
  const bob = await client.login("bob", "wonderland");
  const response = await client.send(await signed(bob, { method: "GET", target: MESSAGES }));
  await response.body?.cancel();
  assertEquals(response.headers.get("x-conduit-route"), "/chat-service/api/v1/*");
  assertStringIncludes(
    response.headers.get("x-conduit-plugins") ?? "",
    "005-route-control;beforeRequest=forward",
  );
  example.child.kill("SIGTERM");
  assertEquals((await example.child.status).code, 0);
});

Deno.test("the example leaves no process behind, and frees its port, where it is killed and can end nothing itself", async () => {
  await using example = await runningExample();
  const processes = await descendants(example.child.pid);
  assert(processes.length >= 2, `${processes}`);
  example.child.kill("SIGKILL");
  await example.child.status;
  for (const pid of processes) {
    await until(async () => !await isRunning(pid), `the end of process ${pid}`);
  }
  const port = Number(new URL(example.baseUrl).port);
  Deno.listen({ hostname: "127.0.0.1", port }).close();
});

const MESSAGES = "/chat-service/api/v1/messages";
const SECRET = "0123456789abcdef0123456789abcdef";

interface Example extends AsyncDisposable {
  readonly gateway: TestGateway;
}

/** The services with `conduit run` in front of them, sessions in this Redis or in the gateway's memory. */
async function gatewayOfExample(redis?: RedisServer): Promise<Example> {
  await using stack = new AsyncDisposableStack();
  const services = stack.use(
    await startServices({ user: 0, admin: 0, chat: 0, beta: 0 }, { secret: SECRET }),
  );
  const text = await exampleConfig({
    listen: "127.0.0.1:0",
    adminListen: "127.0.0.1:0",
    ports: services.ports,
    redis: redis !== undefined,
  });
  const config = { ...JSON.parse(text), ...PATIENT };
  const env = { ADMIN_JWT_SECRET: SECRET, ...(redis ? { REDIS_URL: redis.url } : {}) };
  await install(config, env);
  const gateway = stack.use(await testGateway({ config, env }));
  const running = stack.move();
  return { gateway, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Fetches what the plugins import, as the pages say to. */
async function install(config: object, env: Readonly<Record<string, string>>): Promise<void> {
  await using dir = await scratch({ "conduit.config.json": JSON.stringify(config) });
  const file = join(dir.path, "conduit.config.json");
  const { code, stderr } = await conduit(["check", "--install", "--config", file], { env });
  assertEquals([code, stderr], [0, ""]);
}

async function runClient(url: string) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", join(ROOT, "examples/three-services/client.ts"), url],
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

Deno.test("the example's client gets what it expects at every step, with sessions in the gateway's memory", async () => {
  await using example = await gatewayOfExample();
  const { code, stdout, stderr } = await runClient(example.gateway.url);
  assertEquals([code, stderr], [0, ""], `${stdout}${example.gateway.describe()}`);
  assertMatch(stdout, /^429 {2}carol is told to slow down/m);
  assertEquals(example.gateway.logs.filter(({ level }) => level === "error"), []);
});

Deno.test({
  name: `the example's client gets what it expects at every step, with sessions in Redis${
    NO_REDIS ?? ""
  }`,
  ignore: NO_REDIS !== undefined,
  fn: async () => {
    await using redis = await RedisServer.start({ password: "secret" });
    await using example = await gatewayOfExample(redis);
    const { code, stdout, stderr } = await runClient(example.gateway.url);
    assertEquals([code, stderr], [0, ""], `${stdout}${example.gateway.describe()}`);
    const keys = await redis.command("KEYS", "*") as string[];
    const kinds = ["session", "nonce", "rate"].map((kind) =>
      keys.filter((it) => it.includes(`${kind}:`)).length > 0
    );
    assertEquals(kinds, [true, true, true], keys.join());
    for (const key of keys) {
      // Gone already is -2, without a time to live is -1.
      const ttlSeconds = Number(await redis.command("TTL", key));
      assert(ttlSeconds !== -1 && ttlSeconds <= 900, `${key} lives for ${ttlSeconds} s`);
    }
  },
});

Deno.test({
  name:
    `without its Redis the example lets no session in, goes on with tokens and public paths, and recovers${
      NO_REDIS ?? ""
    }`,
  ignore: NO_REDIS !== undefined,
  fn: async () => {
    await using redis = await RedisServer.start();
    await using example = await gatewayOfExample(redis);
    const client = new ApiClient(example.gateway.url);
    const alice = await client.login("alice", "wonderland");
    const token = await client.adminLogin("root", "toor");
    const asAlice = async () => {
      const response = await client.send(await signed(alice, { method: "GET", target: MESSAGES }));
      const { error } = await response.json();
      return [response.status, error?.message];
    };
    const status = async (target: string, bearer?: string) => {
      const response = await client.send(asAdmin(bearer ?? "", "GET", target));
      await response.body?.cancel();
      return [response.status, response.headers.has("ratelimit-limit")];
    };
    assertEquals(await asAlice(), [200, undefined]);
    await redis.kill();
    assertEquals(await asAlice(), [503, "sessions cannot be checked now"]);
    const login = { method: "POST", target: "/user-service/api/v1/login", headers: {} };
    const body = JSON.stringify({ user: "alice", password: "wonderland" });
    const refused = await client.send({ ...login, body });
    assertEquals(refused.status, 503);
    assert(!(await refused.text()).includes("refreshToken"));
    assertEquals(await status("/user-service/api/v1/external-api/status"), [200, false]);
    assertEquals(await status("/admin-service/api/v1/stats", token), [200, false]);

    await redis.restart();
    const recovered = async () => (await status("/user-service/api/v1/external-api/status"))[1];
    await example.gateway.until(recovered, { what: "the counting to go on" });
    assertEquals(await asAlice(), [401, "unknown session or wrong signature"]);
    const again = await client.login("alice", "wonderland");
    const response = await client.send(await signed(again, { method: "GET", target: MESSAGES }));
    assertEquals(response.status, 200, await response.text());
  },
});

Deno.test("the example's client ends with 1 and names the step where it is let in and should not be", async () => {
  // A service without a gateway in front: it believes whoever asks.
  const ports = { user: 0, admin: 0, chat: 0, beta: 0 };
  await using services = await startServices(ports, { secret: SECRET });
  const { code, stdout, stderr } = await runClient(`http://127.0.0.1:${services.ports.user}`);
  assertEquals([code, stdout], [1, "200  a public path needs nothing\n"]);
  assertMatch(stderr, /^FAILED {2}every other path needs a session: got 200 and not 401/);
});

Deno.test("no spelling of a path, and no field that is sent twice or as a hop-by-hop one, gets past the example's policy", async () => {
  await using example = await gatewayOfExample();
  const { url, port } = example.gateway;
  const client = new ApiClient(url);
  const alice = await client.login("alice", "wonderland");
  const forged = [
    "X-Gateway-Admin-Id: root",
    "X_Gateway_Admin_Id: root",
    "X.Gateway.User.Id: root",
  ];
  const statusOf = async (method: string, target: string, fields: readonly string[]) => {
    const head = [`${method} ${target} HTTP/1.1`, `Host: 127.0.0.1:${port}`, ...fields];
    const answer = await rawExchange(port, [...head, "Connection: close", "", ""].join("\r\n"));
    return Number(answer.split(" ")[1]);
  };
  for (
    const target of [
      "/user-service/api/v1/me",
      "//user-service//api/v1/me",
      "/user-service/api/v1/login/../me",
      "/user-service/api/v1/login/%2e%2e/me",
      "/user-service/api/v1/external-api/x/../../%6de",
      "/chat-service/api/v1/external-api/../messages",
      "/admin-service/api/v1/auth/../stats",
      "/admin-service/api/v1/device/%2E%2E/stats",
      "/chat-service/api/v1/admin/clear",
      "/chat-service/api/v1/./admin/clear",
    ]
  ) {
    assertEquals(await statusOf("POST", target, ["Content-Length: 0", ...forged]), 401, target);
  }
  for (
    const target of ["/user-servicex/api/v1/me", "/User-Service/api/v1/me", "/user-service/me"]
  ) {
    assertEquals(await statusOf("GET", target, forged), 404, target);
  }
  for (
    const target of ["/user-service/api/v1/login%2f..%2fme", "/user-service/api/v1/login/..;/me"]
  ) {
    assertEquals(await statusOf("GET", target, forged), 400, target);
  }

  const fieldsOf = async (target: string) =>
    Object.entries((await signed(alice, { method: "GET", target })).headers)
      .map(([name, value]) => `${name}: ${value}`);
  assertEquals(await statusOf("GET", MESSAGES, [...await fieldsOf(MESSAGES), ...forged]), 200);
  for (let index = 0; index < 4; index++) {
    const fields = await fieldsOf(MESSAGES);
    const twice = [...fields, fields[index] ?? ""];
    assertEquals(await statusOf("GET", MESSAGES, twice), 401, twice.join());
    const name = fields[index]?.split(":")[0] ?? "";
    const hop = [...fields, `Connection: ${name}`];
    assertEquals(await statusOf("GET", MESSAGES, hop), 401, hop.join());
  }
  // Whatever case an administrator's path is written in, a session does not open it.
  for (const target of ["/chat-service/api/v1/Admin/clear", "/chat-service/api/v1/ADMIN"]) {
    assertEquals(await statusOf("GET", target, await fieldsOf(target)), 401, target);
  }
});
