/**
 * `/config/diff`: what a reload would change, for `conduit check --diff`. The gateway reads its file once more and uses nothing of it: only
 * it has the environment that the file's variables come from.
 *
 * @module
 */

import { type AdminPage, jsonForPeople } from "../admin.ts";
import { type Config, loadConfig, withSettings } from "../config.ts";
import { changes, isOfHost, isSame, needsNewHost, refusedChanges } from "../config_changes.ts";
import { errorText } from "../errors.ts";
import { MASK } from "../masking.ts";
import { pluginHosts } from "../sandbox.ts";
import { maskedConfig } from "./config_page.ts";

/** The answer, without secrets. */
export interface ConfigDiff {
  readonly file: string;
  readonly pid: number;
  /** Why the file cannot be used, or what of it cannot be by a reload, a line each. */
  readonly refused: readonly string[];
  readonly changes: readonly ShownChange[];
  readonly needsNewHost: boolean;
  readonly permissions: { readonly gained: readonly string[]; readonly lost: readonly string[] };
}

export interface ShownChange {
  readonly path: string;
  /** Absent where there was no value. */
  readonly old?: unknown;
  /** Absent where there is none any more. */
  readonly next?: unknown;
  /** Both values are secret, and differ. */
  readonly isSecret?: boolean;
  /** It is for this that plugins need another host process. */
  readonly needsNewHost: boolean;
}

/** @param current gives the configuration that is at work */
export function diffPage(
  current: () => Config,
  { dev = false }: { readonly dev?: boolean } = {},
): AdminPage {
  return async () => {
    const old = current();
    try {
      const read = await loadConfig(old.file);
      // `conduit dev` has a plugin host of its own, whatever the file says.
      const next = dev ? withSettings(read, { runtime: old.runtime }) : read;
      return jsonForPeople(200, configDiff(old, next, { dev }));
    } catch (error) {
      const nothing = { changes: [], needsNewHost: false, permissions: { gained: [], lost: [] } };
      const refused = errorText(error).split("\n");
      return jsonForPeople(200, { file: old.file, pid: Deno.pid, refused, ...nothing });
    }
  };
}

function configDiff(old: Config, next: Config, { dev }: { readonly dev: boolean }): ConfigDiff {
  const shown = new Map(
    changes(maskedConfig(old) as Config, maskedConfig(next) as Config)
      .map((each) => [each.path, each]),
  );
  return {
    file: next.file,
    pid: Deno.pid,
    refused: refusedChanges(old, next, { dev }),
    changes: changes(old, next).map(({ path }) => {
      const masked = shown.get(path);
      const needs = isOfHost(path) || hostsDiffer(old, next, path);
      return masked
        ? { path, old: masked.old, next: masked.next, needsNewHost: needs }
        : { path, old: MASK, next: MASK, isSecret: true, needsNewHost: needs };
    }),
    needsNewHost: needsNewHost(old, next),
    permissions: {
      gained: missingFrom(permissions(old), permissions(next)),
      lost: missingFrom(permissions(next), permissions(old)),
    },
  };
}

/** Of a route's change, whether plugins may reach other hosts by it. */
function hostsDiffer(old: Config, next: Config, path: string): boolean {
  const isUpstream = /^routes\[.*\](\.upstreams)?$/.test(path);
  return isUpstream && !isSame(pluginHosts(old), pluginHosts(next));
}

/** What a plugin may do that depends on the configuration, in the words of the host's flags. */
function permissions(config: Config): string[] {
  return [
    ...pluginHosts(config).map((host) => `--allow-net=${host}`),
    ...config.pluginEnv.map((name) => `--allow-env=${name}`),
  ];
}

function missingFrom(known: readonly string[], list: readonly string[]): string[] {
  return list.filter((each) => !known.includes(each));
}
