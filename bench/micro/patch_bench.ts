/**
 * What a hook's changes cost: finding them, checking them, laying them over the draft; beside a copy by JSON.
 *
 * @module
 */

import { permittedPatch } from "../../protocol/mutation_rules.ts";
import { apply, diff } from "../../protocol/patch.ts";
import { DRAFT, NEXT_DRAFT } from "./inputs.ts";

const patch = diff(DRAFT, NEXT_DRAFT);
const judge = { ownsCors: true, denials: [] };

Deno.bench("draft copied by JSON", { group: "patch", baseline: true }, () => {
  JSON.parse(JSON.stringify(NEXT_DRAFT));
});

Deno.bench("diff, two fields changed", { group: "patch" }, () => {
  diff(DRAFT, NEXT_DRAFT);
});

Deno.bench("diff, nothing changed", { group: "patch" }, () => {
  diff(NEXT_DRAFT, NEXT_DRAFT);
});

Deno.bench("permittedPatch", { group: "patch" }, () => {
  permittedPatch(patch, judge);
});

Deno.bench("apply", { group: "patch" }, () => {
  apply(DRAFT, patch);
});
