import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import type { ForwardHost } from "../../gateway/config.ts";
import { ForwardGuard, type ForwardTarget, isPublicAddress } from "../../gateway/forward_guard.ts";

type GuardOptions = ConstructorParameters<typeof ForwardGuard>[0];

function allow(host: string, port: number | null = null, allowPrivate = false): ForwardHost {
  return { host, port, allowPrivate };
}

/** A guard for `ok.example.com`, whose names all resolve to `addresses`. */
function guard(addresses: readonly string[], options: Partial<GuardOptions> = {}): ForwardGuard {
  return new ForwardGuard({
    allowedHosts: [allow("ok.example.com")],
    upstreams: [],
    blockPrivateNetworks: true,
    resolve: () => Promise.resolve(addresses),
    ...options,
  });
}

async function accepted(checker: ForwardGuard, url: string): Promise<ForwardTarget> {
  const verdict = await checker.check(url);
  assert(verdict.ok, `"${url}": ${verdict.ok || verdict.reason}`);
  return verdict.target;
}

async function refused(checker: ForwardGuard, url: string): Promise<string> {
  const verdict = await checker.check(url);
  assert(!verdict.ok, `"${url}" was accepted`);
  return verdict.reason;
}

Deno.test("forward guard returns the address it checked, and the canonical path", async () => {
  const checker = guard(["2606:4700::1", "8.8.8.8", "1.1.1.1"]);
  assertEquals(await accepted(checker, "HTTPS://OK.example.com/a/../b%2f?x=%31"), {
    protocol: "https:",
    hostname: "ok.example.com",
    port: 443,
    address: "8.8.8.8",
    path: "/b%2F",
    query: "x=%31",
  });
  const sixOnly = await accepted(guard(["2606:4700::1"]), "http://ok.example.com:80");
  assertEquals([sixOnly.address, sixOnly.port, sixOnly.path], ["2606:4700::1", 80, "/"]);
});

Deno.test("forward guard asks for the addresses once, so that a second answer cannot differ", async () => {
  const answers = [["8.8.8.8"], ["127.0.0.1"]];
  const checker = guard([], { resolve: () => Promise.resolve(answers.shift() ?? []) });
  assertEquals((await accepted(checker, "http://ok.example.com/")).address, "8.8.8.8");
  assertEquals(answers.length, 1);
  assertStringIncludes(await refused(checker, "http://ok.example.com/"), "127.0.0.1");
});

Deno.test("forward guard refuses a name that resolves to 169.254.169.254", async () => {
  const reason = await refused(guard(["169.254.169.254"]), "http://ok.example.com/");
  assertStringIncludes(reason, '"169.254.169.254"');
});

Deno.test("forward guard refuses a name with one private address among public ones", async () => {
  for (
    const addresses of [
      ["8.8.8.8", "10.0.0.1"],
      ["::1", "8.8.8.8"],
      ["8.8.8.8", "::ffff:8.8.8.8"],
      ["8.8.8.8", "nonsense"],
      ["8.8.8.8", ""],
      ["8.8.8.8", "0177.1"],
      ["8.8.8.8", "134744072"],
      ["fe80::1%eth0"],
      [],
    ]
  ) await refused(guard(addresses), "http://ok.example.com/");
});

Deno.test("forward guard judges hosts before it looks them up", async () => {
  const looked: string[] = [];
  const checker = guard([], {
    allowedHosts: [
      allow("ok.example.com"),
      allow("*.eu.example.com", 8443),
      allow("beta-service", 2005),
      allow("[2606:4700::1]"),
    ],
    resolve: (name) => {
      looked.push(name);
      return Promise.resolve(["8.8.8.8"]);
    },
  });
  for (
    const url of [
      "http://ok.example.com.evil.net/",
      "http://ok.example.com./",
      "http://a.eu.example.com.:8443/",
      "http://evil.net/ok.example.com",
      "http://notok.example.com/",
      "http://example.com/",
      "https://ok.example.com:80/",
      "http://ok.example.com:443/",
      "http://ok.example.com:8080/",
      "http://a.eu.example.com/",
      "http://eu.example.com:8443/",
      "http://a.b.eu.example.com:8443/",
      "http://aeu.example.com:8443/",
      "http://beta-service/",
      "http://8.8.8.8/",
      "http://[2606:4700::2]/",
    ]
  ) assertStringIncludes(await refused(checker, url), "allowedHosts");
  assertEquals(looked, []);
  for (
    const url of [
      "http://ok.example.com/",
      "https://ok.example.com/",
      "http://a.eu.example.com:8443/",
      "https://a.eu.example.com:8443/",
      "http://beta-service:2005/",
    ]
  ) await accepted(checker, url);
  assertEquals(looked.length, 5);
  assertEquals((await accepted(checker, "http://[2606:4700::1]/")).address, "2606:4700::1");
});

Deno.test("forward guard refuses URLs that are not plain http or https", async () => {
  const checker = guard(["8.8.8.8"], {
    allowedHosts: [allow("ok.example.com"), allow("evil"), allow("127.0.0.1", null, true)],
  });
  for (
    const url of [
      "",
      "/x",
      "//evil",
      "evil",
      "http:evil",
      "http:/evil",
      "http:\\\\evil\\x",
      "http:///evil/",
      "file:///etc/passwd",
      "ftp://evil/",
      "ws://evil/",
      "data:text/plain,x",
      "blob:http://evil/x",
      "http://ok@evil/",
      "http://ok:pw@evil/",
      "http://@evil/",
      "http://:@evil/",
      "http://evil#@ok.example.com/",
      "http://evil/#x",
      "http://evil/a#",
      "http://evil\\@ok.example.com/",
      "http://evil/\\x",
      "http://evil/%00",
      "http://evil/%zz",
      "http://evil/..;/x",
      "http://ev\til/",
      "http://evil/\r\nx: y",
      "http://evil/a\nb",
      "http://evil/\0",
      " http://evil/",
      "http://evil/ ",
      "http://evil./",
      "http://ev%69l/",
      "http://ｅｖｉｌ/",
      "http://evil:99999/",
      "http://2130706433/",
      "http://0x7f000001/",
      "http://0177.1/",
      "http://127.1/",
      "http://127.0.0.1./",
      "http://[::1%25lo]/",
    ]
  ) await refused(checker, url);
  await accepted(checker, "http://evil/");
  await accepted(checker, "http://127.0.0.1/");
});

Deno.test("forward guard refuses addresses of the machine and its networks in every spelling", async () => {
  const spellings = [
    ..."169.254.169.254 2130706433 0x7f000001 0177.1 0.0.0.0 0 127.1 10.1 100.64.0.1".split(" "),
    ..."localhost. LOCALHOST. 127.0.0.1. 0xa9fea9fe 0251.0376.0251.0376 localhost".split(" "),
    ..."[::ffff:a9fe:a9fe] [::127.0.0.1] [::7f00:1] [2002:a9fe:a9fe::] [fe80::1] [::]".split(" "),
    ..."[64:ff9b::a9fe:a9fe] [64:ff9b:1::a9fe:a9fe] [::1] [0:0:0:0:0:0:0:1] [fd00::1]".split(" "),
    ..."[::ffff:0:a9fe:a9fe] [2001:0:a9fe:a9fe::1] [::ffff:127.0.0.1]".split(" "),
  ];
  for (const host of spellings) {
    const url = `http://${host}/`;
    const hostname = URL.parse(url)?.hostname ?? host;
    const checker = guard(["127.0.0.1"], { allowedHosts: [allow(hostname), allow(host)] });
    await refused(checker, url);
  }
});

Deno.test("forward guard lets an entry, a route's upstream and an open policy reach private addresses", async () => {
  const url = "http://beta:2005/x";
  const allowPrivate = [allow("beta", 2005, true)];
  const waived = guard(["10.0.0.7"], { allowedHosts: allowPrivate });
  assertEquals((await accepted(waived, url)).address, "10.0.0.7");

  const upstream = { protocol: "http:", hostname: "beta", port: 2005 } as const;
  const known = guard(["10.0.0.7"], { allowedHosts: [], upstreams: [upstream] });
  assertEquals((await accepted(known, url)).address, "10.0.0.7");
  await refused(known, "https://beta:2005/x");
  await refused(known, "http://beta:2006/x");

  const open = { allowedHosts: [allow("beta", 2005)], blockPrivateNetworks: false };
  assertEquals((await accepted(guard(["10.0.0.7"], open), url)).address, "10.0.0.7");
  await refused(guard(["10.0.0.7"], open), "http://other:2005/");

  const literal = guard([], { allowedHosts: [allow("[::1]", 2005, true)] });
  assertEquals((await accepted(literal, "http://[::1]:2005/")).address, "::1");
});

Deno.test("forward guard refuses a name that cannot be resolved, or not in time", async () => {
  const failing = guard([], { resolve: () => Promise.reject(new Error("no such name")) });
  assertStringIncludes(await refused(failing, "http://ok.example.com/"), "no such name");
  const never = Promise.withResolvers<readonly string[]>();
  const slow = guard([], { resolve: () => never.promise, resolveTimeoutMs: 5 });
  assertStringIncludes(await refused(slow, "http://ok.example.com/"), "no answer in 5 ms");
});

Deno.test("forward guard looks names up as the system does, /etc/hosts included", async () => {
  const options = { upstreams: [], blockPrivateNetworks: true };
  const localhost = allow("localhost", 2005, true);
  const checker = new ForwardGuard({ ...options, allowedHosts: [localhost] });
  const { address } = await accepted(checker, "http://localhost:2005/");
  assert(address === "127.0.0.1" || address === "::1", address);
  const strict = new ForwardGuard({
    ...options,
    allowedHosts: [{ ...localhost, allowPrivate: false }, allow("nosuchname.invalid")],
  });
  assertStringIncludes(await refused(strict, "http://localhost:2005/"), "is not public");
  assertStringIncludes(await refused(strict, "http://nosuchname.invalid/"), "cannot resolve");
});

/**
 * The IANA special-purpose registries (IPv4 and IPv6, 2025-10-09) with multicast (RFC 5771, RFC
 * 4291), and what carries IPv4: nothing in them is public for us, though a few are globally
 * reachable.
 */
const SPECIAL_RANGES = [
  ..."0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12".split(" "),
  ..."192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24".split(" "),
  ..."192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24".split(" "),
  ..."224.0.0.0/4 240.0.0.0/4 ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96".split(" "),
  ..."64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001:db8::/32 2002::/16".split(" "),
  ..."2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8".split(" "),
].map((cidr) => {
  const [start = "", bits = ""] = cidr.split("/");
  const isV4 = !start.includes(":");
  const first = isV4 ? fromV4(start) : fromV6(start);
  return { cidr, isV4, first, size: 1n << BigInt((isV4 ? 32 : 128) - Number(bits)) };
});

function fromV4(text: string): bigint {
  return text.split(".").reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
}

function fromV6(text: string): bigint {
  const [head = "", tail = ""] = text.split("::");
  const left = head ? head.split(":") : [];
  const right = tail ? tail.split(":") : [];
  const zeros = Array<string>(8 - left.length - right.length).fill("0");
  return [...left, ...zeros, ...right].reduce((sum, g) => (sum << 16n) | BigInt(`0x${g}`), 0n);
}

function v4Text(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
}

function v6Groups(value: bigint): string[] {
  return Array.from(
    { length: 8 },
    (_, i) => ((value >> BigInt(112 - i * 16)) & 0xffffn).toString(16),
  );
}

/** The spellings of one address that a resolver, a URL or a person comes up with. */
function spellings(value: bigint, isV4: boolean): string[] {
  if (!isV4) {
    const groups = v6Groups(value);
    const padded = groups.map((group) => group.padStart(4, "0")).join(":");
    const dotted = `${groups.slice(0, 6).join(":")}:${v4Text(value & 0xffffffffn)}`;
    const short = new URL(`http://[${padded}]`).hostname.slice(1, -1);
    return [padded, padded.toUpperCase(), groups.join(":"), dotted, short];
  }
  const hex = `${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;
  const prefixes = ["::ffff:", "::", "::ffff:0:", "64:ff9b::", "64:ff9b:1::"];
  return [
    v4Text(value),
    String(value),
    `0x${value.toString(16)}`,
    v4Text(value).split(".").map((part) => `0${Number(part).toString(8)}`).join("."),
    ...prefixes.flatMap((prefix) => [`${prefix}${hex}`, `${prefix}${v4Text(value)}`]),
    `2002:${hex}::1`,
  ];
}

Deno.test("forward guard refuses every special range from its first to its last address, in every spelling", () => {
  for (const { cidr, isV4, first, size } of SPECIAL_RANGES) {
    const inside = fc.bigInt({ min: 0n, max: size - 1n });
    fc.assert(
      fc.property(inside, (offset) => {
        for (const text of spellings(first + offset, isV4)) {
          assert(!isPublicAddress(text), `${text} of ${cidr}`);
        }
      }),
      { numRuns: 100, examples: [[0n], [size - 1n]] },
    );
  }
});

Deno.test("forward guard takes every other unicast address for public", () => {
  function isSpecial(value: bigint, v4: boolean): boolean {
    return SPECIAL_RANGES.some(({ isV4, first, size }) =>
      isV4 === v4 && value >= first && value < first + size
    );
  }
  const v6Start = fromV6("2000::");
  const edges = SPECIAL_RANGES.flatMap(({ isV4, first, size }) =>
    [first - 1n, first + size].map((value) => ({ isV4, value }))
  );
  const any = fc.oneof(
    fc.bigInt({ min: 0n, max: (1n << 32n) - 1n }).map((value) => ({ isV4: true, value })),
    fc.bigInt({ min: v6Start, max: v6Start + (1n << 125n) - 1n })
      .map((value) => ({ isV4: false, value })),
    fc.constantFrom(...edges),
  );
  fc.assert(
    fc.property(any, ({ isV4, value }) => {
      const inSpace = isV4 ? value >= 0n && value < 1n << 32n : value >> 125n === 1n;
      const text = isV4 ? v4Text(value) : v6Groups(value).join(":");
      fc.pre(inSpace);
      assertEquals(isPublicAddress(text), !isSpecial(value, isV4), text);
    }),
    { numRuns: 3000 },
  );
});
