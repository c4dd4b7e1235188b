/**
 * `conduit check --diff`: what a reload would change in the gateway that runs, as lines for people.
 *
 * @module
 */

import type { Config } from "../config.ts";
import type { ConfigDiff, ShownChange } from "../observe/diff_page.ts";
import { askAdmin } from "./healthcheck.ts";

/**
 * @param admin where the gateway can be asked
 * @returns the lines, and whether a reload would be refused
 * @throws {UserError} where nobody answers
 */
export async function configDiff(
  admin: Config["admin"],
): Promise<{ readonly text: string; readonly isRefused: boolean }> {
  const diff = JSON.parse(await askAdmin(admin, "/config/diff")) as ConfigDiff;
  return { text: diffText(diff), isRefused: diff.refused.length > 0 };
}

function diffText({ file, pid, refused, changes, ...rest }: ConfigDiff): string {
  const lines = [`${file} beside the gateway that runs (pid ${pid})`, ""];
  if (refused.length > 0) {
    lines.push("a reload would be refused", ...refused.map((each) => `  ${each}`), "");
  }
  if (changes.length > 0) lines.push("changes", ...changes.map(changeLine), "");
  else if (refused.length === 0) lines.push("a reload would change nothing", "");
  if (rest.needsNewHost) {
    const { gained, lost } = rest.permissions;
    lines.push(
      "*: by a new plugin host process",
      ...gained.map((each) => `  gains ${each}`),
      ...lost.map((each) => `  loses ${each}`),
      ...(gained.length + lost.length === 0 ? ["  with the same permissions"] : []),
      "",
    );
  }
  return lines.join("\n");
}

function changeLine({ path, old, next, isSecret, needsNewHost }: ShownChange): string {
  const change = isSecret ? "another secret value" : `${shown(old)} -> ${shown(next)}`;
  return `  ${path}: ${change}${needsNewHost ? " *" : ""}`;
}

function shown(value: unknown): string {
  return value === undefined ? "(none)" : JSON.stringify(value);
}
