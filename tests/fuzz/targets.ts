/**
 * All that is fuzzed.
 *
 * @module
 */

import type { FuzzTarget } from "./target.ts";
import { CONFIG_TARGETS } from "./targets/config.ts";
import { EDGE_TARGETS } from "./targets/edge.ts";
import { UPSTREAM_TARGETS } from "./targets/upstream.ts";
import { WIRE_TARGETS } from "./targets/wire.ts";

export const TARGETS: readonly FuzzTarget[] = [
  ...WIRE_TARGETS,
  ...UPSTREAM_TARGETS,
  ...CONFIG_TARGETS,
  ...EDGE_TARGETS,
];
