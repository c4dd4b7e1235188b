/**
 * The pages of the parent about requests and plugins: those of all its gateway processes, put together.
 *
 * @module
 */

import { type AdminPage, jsonForPeople } from "../admin.ts";
import { storiesFound } from "../observe/story_page.ts";
import type { KeptProcess } from "./kept_process.ts";

interface StoryList {
  readonly requests: readonly { readonly time: string }[];
}

/** By path. A process that does not answer in time is left out. */
export function parentPages(
  processes: () => readonly KeptProcess[],
): Readonly<Record<string, AdminPage>> {
  const askAll = async <T>(path: string) => {
    const asked = processes().map(async ({ serving }) => {
      const answer = await serving?.ask<T>(path);
      return answer === undefined ? [] : [{ pid: serving?.pid, answer }];
    });
    return (await Promise.all(asked)).flat();
  };
  const storiesOf = async (path: string) => {
    const lists = await askAll<StoryList>(path);
    return lists.flatMap(({ answer: { requests } }) => requests)
      .toSorted((a, b) => a.time < b.time ? 1 : a.time > b.time ? -1 : 0);
  };
  return {
    "/plugins": async () => {
      const pages = await askAll<object>("/plugins");
      return jsonForPeople(200, {
        processes: pages.map(({ pid, answer }) => ({ pid, ...answer })),
      });
    },
    "/trace": async () => jsonForPeople(200, { requests: await storiesOf("/trace") }),
    "/trace/": async ({ pathname }) => storiesFound(pathname, await storiesOf(pathname)),
  };
}
