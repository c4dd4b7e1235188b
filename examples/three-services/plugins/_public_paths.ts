/**
 * Which paths ask for what. This is the file to change when a path becomes public: save it, and it is.
 *
 * Patterns are "/exact" or "/prefix/*", which is the prefix and all below it. They meet the canonical path, which is also
 * what the service gets: `//`, `%2e` and `/x/../` are gone before.
 *
 * @module
 */

/** Open to everybody, by surface. Only in this spelling: whatever else a client writes is not open. */
export const PUBLIC_PATHS = {
  user: [
    "/user-service/api/v1/login",
    "/user-service/api/v1/refresh",
    "/user-service/api/v1/external-api/*",
  ],
  chat: ["/chat-service/api/v1/external-api/*"],
  admin: [
    "/admin-service/api/v1/auth/*",
    "/admin-service/api/v1/device/*",
    "/admin-service/api/v1/internal/*",
  ],
} as const;

/** For administrators' tokens. In any spelling of upper and lower case: there are services that ignore it. */
export const ADMIN_PATHS = ["/admin-service/*", "/chat-service/api/v1/admin/*"] as const;

/** What a request has to bring. Whatever no list names needs a session, so what is forgotten stays shut. */
export type Credential = "nothing" | "session" | "admin token";

export function credentialFor(path: string): Credential {
  if (Object.values(PUBLIC_PATHS).flat().some((each) => covers(each, path))) return "nothing";
  const plain = path.toLowerCase();
  return ADMIN_PATHS.some((each) => covers(each, plain)) ? "admin token" : "session";
}

/** Whether `pattern` is for `path`: "/a/*" is for "/a" and "/a/b", and not for "/ab". */
export function covers(pattern: string, path: string): boolean {
  if (!pattern.endsWith("/*")) return path === pattern;
  return `${path}/`.startsWith(pattern.slice(0, -1));
}
