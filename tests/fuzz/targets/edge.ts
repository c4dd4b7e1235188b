/**
 * What clients say: the Host field and the request target.
 *
 * @module
 */

import { EdgeError } from "../../../gateway/errors.ts";
import { parseHost } from "../../../gateway/host.ts";
import { canonicalPath, rawTarget } from "../../../gateway/path.ts";
import { type FuzzTarget, latin1, law } from "../target.ts";

const host: FuzzTarget = {
  name: "host",
  dictionary: [
    "example.com",
    "[::1]",
    "[::ffff:1.2.3.4]",
    ":80",
    ":65536",
    ":0",
    "@",
    "..",
    ".",
    "%2e",
    " ",
    "\t",
    "/",
    "\\",
    "?",
    "#",
    "xn--",
    "_",
    "[fe80::1%25eth0]",
    ",",
    "\n",
  ],
  errors: [EdgeError],
  run(input) {
    const field = latin1(input);
    const { host, hostname, port } = parseHost(field, `http://${field}/`);
    law(/^(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])$/.test(hostname), `the host name ${hostname}`);
    law(port === undefined || (port >= 1 && port <= 65535), `port ${port}`);
    law(host === (port === undefined ? hostname : `${hostname}:${port}`), "host is not its parts");
    law(parseHost(host, `http://${host}/`).host === host, "reading again changes something");
    law(!hostname.endsWith("."), "the root dot stays");
    // Whoever reads it with a URL parser finds the same host, or refuses it.
    const url = URL.canParse(`http://${host}/`) ? new URL(`http://${host}/`) : undefined;
    law(url === undefined || url.username === "" && url.pathname === "/", "a URL has more in it");
    return `${hostname.startsWith("[") ? "address" : "name"} ${port === undefined} ${
      hostname.split(".").length > 1
    }`;
  },
};

const path: FuzzTarget = {
  name: "path",
  dictionary: [
    "/",
    "//",
    "/./",
    "/../",
    "..",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5C",
    "%00",
    "%",
    "%25",
    "%252e",
    "?",
    "#",
    "\\",
    ";",
    "..;",
    "%3B",
    "*",
    "http://",
    "@",
    " ",
    "\x80",
    "%c3%a9",
    "%7f",
  ],
  errors: [EdgeError],
  run(input) {
    const target = rawTarget(`http://a${latin1(input)}`);
    const kept = canonicalPath(target);
    const { path, query, hasEncodedSlash } = kept;
    law(/^\/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})*$/.test(path), `the path ${path}`);
    law(!path.includes("//") && !/\/\.{1,2}(?:\/|$)/.test(path), `the path ${path}`);
    for (const segment of path.split(/\/|%2F|%5C/)) {
      const [plain = ""] = segment.split(/;|%3B/);
      law(!/^\.{1,2}$/.test(plain), `the disguised dot segment ${segment}`);
    }
    law(/^[!-~]*$/.test(query) && !query.includes("#"), `the query ${query}`);
    const again = canonicalPath(query === "" ? path : `${path}?${query}`);
    law(again.path === path && again.query === query, `${path} becomes ${again.path}`);
    law(hasEncodedSlash === /%2F|%5C/.test(path), "hasEncodedSlash");
    const url = new URL(`http://a${path}`);
    law(url.pathname === path, `a URL parser reads ${url.pathname}`);
    const marks = path.match(/%[0-9A-F]{2}|[^A-Za-z0-9]/g) ?? [];
    return `${[...new Set(marks)].sort().join("").slice(0, 12)} ${query === ""}`;
  },
};

export const EDGE_TARGETS: readonly FuzzTarget[] = [host, path];
