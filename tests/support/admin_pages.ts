/**
 * The JSON pages of the admin listener, as a test reads them.
 *
 * @module
 */

import type { TestGateway } from "./gateway.ts";

/** What is at `path`, any JSON; a test that reads it wrongly fails there. */
// deno-lint-ignore no-explicit-any -- a page is data from outside, and its form is what tests look at
export async function adminPage(gateway: TestGateway, path: string): Promise<any> {
  const response = await fetch(gateway.adminUrl + path);
  return await response.json();
}

/** The only story that `/trace/<id>` has, once its request has ended. */
// deno-lint-ignore no-explicit-any -- as above
export async function storyOf(gateway: TestGateway, id: string): Promise<any> {
  const requests = await gateway.until(async () => {
    const page = await adminPage(gateway, `/trace/${id}`);
    return page.requests.length > 0 && page.requests;
  }, { what: `the story of ${id}` });
  if (requests.length !== 1) throw new Error(`${requests.length} stories of ${id}`);
  return requests[0];
}
