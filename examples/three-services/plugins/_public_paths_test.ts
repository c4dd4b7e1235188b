import { assert, assertEquals } from "@std/assert";
import { ADMIN_PATHS, covers, credentialFor, PUBLIC_PATHS } from "./_public_paths.ts";

for (const [surface, patterns] of Object.entries(PUBLIC_PATHS)) {
  for (const pattern of patterns) {
    Deno.test(`${pattern} is open, and no path that is only like it`, () => {
      const path = pattern.replace("/*", "/x/y");
      assertEquals(credentialFor(path), "nothing");
      assertEquals(path.startsWith(`/${surface}-service/`), true);
      const others = [`${path.replace("/x/y", "")}x`, path.toUpperCase(), `/x${path}`];
      for (const other of others) assert(credentialFor(other) !== "nothing", other);
    });
  }
}

Deno.test("an administrator's path is one in any case, and no path that is only like it", () => {
  for (const pattern of ADMIN_PATHS) {
    const path = pattern.replace("/*", "");
    for (const each of [path, `${path}/`, `${path}/a/b`, path.toUpperCase()]) {
      assertEquals(credentialFor(each), "admin token", each);
    }
    for (const each of [`${path}x`, `${path}-x/a`, `/x${path}`]) {
      assertEquals(credentialFor(each), "session", each);
    }
  }
});

Deno.test("whatever no list names needs a session", () => {
  for (const path of ["/", "/x", "/user-service", "/chat-service/api/v2/external-api/x"]) {
    assertEquals(credentialFor(path), "session");
  }
});

Deno.test("a pattern is for its path, and with /* for all below it", () => {
  const cases: readonly (readonly [pattern: string, path: string, expected: boolean])[] = [
    ["/a", "/a", true],
    ["/a", "/a/", false],
    ["/a", "/a/b", false],
    ["/a/*", "/a", true],
    ["/a/*", "/a/", true],
    ["/a/*", "/a/b/c", true],
    ["/a/*", "/ab", false],
    ["/a/*", "/A/b", false],
    ["/*", "/", true],
    ["/*", "/a", true],
  ];
  for (const [pattern, path, expected] of cases) assertEquals(covers(pattern, path), expected);
});
