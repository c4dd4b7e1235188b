/**
 * Where this user's cache is: npm packages for plugins, and the Deno that an executable brings along.
 *
 * @module
 */

import { isAbsolute, join } from "@std/path";

/**
 * The folders that may hold it, the best one first: `$CACHE_DIRECTORY` (systemd.exec(5); the first one, if it is a list),
 * `$XDG_CACHE_HOME/conduit` and `~/.cache/conduit`. Never a folder that everybody writes to; none that depends on the working directory.
 */
export function cacheFolders(env: (name: string) => string | undefined): string[] {
  const [cacheDirectory, xdg, home] = ["CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"].map(env);
  return [
    cacheDirectory?.split(":")[0],
    xdg && join(xdg, "conduit"),
    home && join(home, ".cache", "conduit"),
  ].filter((path): path is string => path !== undefined && isAbsolute(path));
}
