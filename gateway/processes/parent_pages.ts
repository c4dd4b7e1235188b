/**
 * The pages of the parent about requests: those of all its gateway processes, put together.
 *
 * @module
 */

import { type AdminPage, json } from "../admin.ts";
import { storiesFound } from "../observe/story_page.ts";
import type { KeptProcess } from "./kept_process.ts";

interface StoryList {
  readonly requests: readonly { readonly time: string }[];
}

/** By path. A process that does not answer in time is left out. */
export function parentPages(
  processes: () => readonly KeptProcess[],
): Readonly<Record<string, AdminPage>> {
  const askAll = async <T>(path: string): Promise<T[]> => {
    const asked = processes().map(({ serving }) => serving?.ask<T>(path));
    return (await Promise.all(asked)).filter((answer) => answer !== undefined);
  };
  const storiesOf = async (path: string) => {
    const lists = await askAll<StoryList>(path);
    return lists.flatMap(({ requests }) => requests)
      .toSorted((a, b) => a.time < b.time ? 1 : a.time > b.time ? -1 : 0);
  };
  return {
    "/trace": async () => json(200, { requests: await storiesOf("/trace") }),
    "/trace/": async ({ pathname }) => storiesFound(pathname, await storiesOf(pathname)),
  };
}
