/**
 * The environment in the configuration's string values (not in keys): `${NAME}` is the variable, which must be set;
 * `${NAME:-default}` is the default where it is unset or empty, as in a shell; `$${` stands for a literal `${`. A value
 * that was put in is not looked through again.
 *
 * @module
 */

import type { Json } from "../protocol/snapshot.ts";
import type { Report } from "./config_report.ts";
import type { Path } from "./json_text.ts";

export type Environment = (name: string) => string | undefined;

const REFERENCE = /\$\$\{|\$\{([^}]*)(\}?)/g;
const INSIDE = /^([A-Za-z_]\w*)(?::-(.*))?$/s;

/**
 * `value` with its references replaced. Problems go to `report`, and the string in question stays as it is written.
 */
export function withEnvironment(
  value: Json,
  context: {
    readonly env: Environment;
    readonly report: Report;
    readonly path?: Path;
    /** Hears of each variable that was put in. */
    readonly onUse?: (name: string, value: string) => void;
  },
): Json {
  const { env, report, path = [], onUse } = context;
  const inside = (item: Json, key: string | number): Json =>
    withEnvironment(item, { ...context, path: [...path, key] });
  if (typeof value === "string") {
    return value.replace(REFERENCE, (reference: string, inner?: string, end?: string) => {
      if (inner === undefined) return "${";
      const [, name, fallback] = INSIDE.exec(inner) ?? [];
      if (name === undefined || end === "") {
        report.add(
          path,
          `"\${" does not start \${NAME} or \${NAME:-default}; write "$\${" for itself`,
        );
        return reference;
      }
      const found = env(name);
      if (found) onUse?.(name, found);
      if (fallback !== undefined) return found || fallback;
      if (found === undefined) {
        report.add(path, `the variable ${name} is not set; set it or write \${${name}:-default}`);
      }
      return found ?? reference;
    });
  }
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(inside);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inside(item, key)]));
}
