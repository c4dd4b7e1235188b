import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { TypeCheck, typeErrors } from "../../gateway/dev/type_check.ts";
import { hostProgram } from "../support/failure.ts";

const NEEDS = {
  pluginsDir: "/srv/my gate/plugins",
  modules: { "conduit/plugin": "file:///opt/conduit/plugin-host/mod.ts" },
};

Deno.test("type errors are shown with places in the plugins folder, and without what deno says around them", () => {
  const output = `TS2322 [ERROR]: Type 'string' is not assignable to type 'number'.
    const n: number = ctx.request.path;
          ^
    at file:///srv/my%20gate/plugins/001-a.ts:5:11

TS2551 [ERROR]: Property 'setHeadr' does not exist.
    ctx.upstream.setHeadr("a", "b");
                 ~~~~~~~~
    at file:///srv/my%20gate/plugins/lib/_h.ts:6:18

    'setHeader' is declared here.
      setHeader(name: string): void;
        at file:///opt/conduit/plugin-host/mod.ts:115:3

Found 2 errors.

error: Type checking failed.

Stack backtrace:
   0: <unknown>
`;
  assertEquals(
    typeErrors(output, NEEDS),
    `TS2322 [ERROR]: Type 'string' is not assignable to type 'number'.
    const n: number = ctx.request.path;
          ^
    at 001-a.ts:5:11

TS2551 [ERROR]: Property 'setHeadr' does not exist.
    ctx.upstream.setHeadr("a", "b");
                 ~~~~~~~~
    at lib/_h.ts:6:18
    'setHeader' is declared here.
      setHeader(name: string): void;
        at conduit/plugin:115:3`,
  );
});

Deno.test("what is no type error is none: the check could not be made", () => {
  assertEquals(typeErrors("error: Failed loading https://registry.npmjs.org/zod\n", NEEDS), "");
});

Deno.test("a check of types ends the one of an older state, and what it would have said", async () => {
  await using program = await hostProgram(`
    for file; do :; done
    case $file in
      *001-old.ts) touch "$0.began"; exec sleep 600;;
      *) printf 'TS1 [ERROR]: wrong.\\n    at %s' "$file" >&2; exit 1;;
    esac`);
  const told = Promise.withResolvers<string>();
  const late = setTimeout(() => told.reject(new Error("nothing told within 20 s")), 20_000);
  const none = () => {};
  const types = new TypeCheck({
    deno: program.env.CONDUIT_DENO ?? "",
    pluginsDir: program.dir,
    dir: program.dir,
    modules: {},
    env: () => undefined,
    log: { debug: none, info: none, warn: none, error: none },
    print: told.resolve,
  });
  const state = (name: string) => ({
    hash: name,
    path: program.dir,
    dirUrl: "file:///unused/",
    files: { [name]: "" },
  });
  types.check(state("001-old.ts"));
  const began = join(program.dir, "deno.began");
  while (!await Deno.stat(began).then(() => true, () => false)) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  types.check(state("001-new.ts"));
  assertEquals(await told.promise, `TS1 [ERROR]: wrong.\n    at ${program.dir}/001-new.ts`);
  clearTimeout(late);
});
