/** Attacks 1, 12, 13 and 26: fields by which a client claims to be somebody, or hides what somebody said. */
import { assertEquals } from "@std/assert";
import { assertRepelled } from "../support/attack.ts";
import { attackTest } from "../support/attack_rows.ts";
import {
  asAttack,
  assertShownIsSent,
  type HeaderAttack,
  UUID,
  withGateway,
} from "../support/header_attack.ts";

/** What the gateway and the plugin say, whatever the client says. */
const SAID = {
  "x-forwarded-for": "127.0.0.1",
  "x-forwarded-host": "a",
  "x-forwarded-proto": "http",
  "x-forwarded-port": "80",
  "x-real-ip": "127.0.0.1",
  "x-request-id": UUID,
  traceparent: /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/,
  "x-gateway-user": "alice",
  connection: undefined,
};

const MANAGED_NAMES =
  "X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Forwarded-Port, X-Real-IP, X-Request-Id, Traceparent, X-Gateway-User, Host";

const TAKEN_AWAY: readonly HeaderAttack[] = [
  ...[
    `close, ${MANAGED_NAMES}`,
    MANAGED_NAMES.toLowerCase(),
    MANAGED_NAMES.toUpperCase().replaceAll(", ", ","),
    `,, \t${MANAGED_NAMES} ,`,
    `keep-alive\r\nConnection: ${MANAGED_NAMES.replaceAll(", ", "\r\nConnection: ")}`,
    `${MANAGED_NAMES.replaceAll("-", "_")}, ${MANAGED_NAMES}`,
    `close, ${"x-filler, ".repeat(200)}${MANAGED_NAMES}`,
  ].map((connection): HeaderAttack => ({
    name: `Connection: ${connection.slice(0, 50)} (CVE-2022-31813)`,
    fields: [`Connection: ${connection}`, "Authorization: Bearer good"],
    upstreamGets: SAID,
  })),
  {
    name: "Connection names what a plugin would read: it is gone before the plugin looks",
    fields: ["Connection: close, X-User", "Authorization: Bearer good", "X-User: mallory"],
    upstreamGets: { ...SAID, "x-user": undefined },
  },
  {
    name: "Connection names Authorization: then there is none, for the plugin and for the upstream",
    fields: ["Connection: Authorization", "Authorization: Bearer good"],
    upstreamGets: { authorization: undefined, "x-gateway-user": undefined },
  },
  {
    name: "Connection names a stripped field that the client sends too",
    fields: ["Connection: close, X-Gateway-Admin-Id", "X-Gateway-Admin-Id: 1"],
    upstreamGets: { "x-gateway-admin-id": undefined, connection: undefined },
  },
  {
    name: "Connection under another name is another field",
    fields: ["Connection_: X-Real-IP", "X-Connection: X-Real-IP", "Authorization: Bearer good"],
    upstreamGets: SAID,
  },
];

const HOP_BY_HOP: readonly HeaderAttack[] = [
  ...[
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic x",
    "Proxy-Authenticate: Basic",
    "TE: trailers",
    "Trailer: x-t",
    // CVE-2016-5385, httpoxy
    "Proxy: http://evil",
    "PROXY: http://evil",
  ].map((field): HeaderAttack => ({
    name: field,
    fields: [field],
    upstreamGets: { [field.split(":", 1)[0]?.toLowerCase() ?? ""]: undefined },
  })),
];

/** Every way in which a server may read another name as one that the gateway manages, or a plugin sets. */
const ALIASES: readonly HeaderAttack[] = [
  ...["X_Gateway_User", "X.Gateway.User", "x-gateway_user", "X_Gateway-Admin_Id"],
  ...["X_Forwarded_For", "X.Forwarded.For", "X_Forwarded-Host", "x-forwarded_proto"],
  ...["X_Real_IP", "X.Real.IP", "X_Request_Id"],
  ...["Content_Length", "Transfer_Encoding", "Proxy_Authorization", "Keep.Alive"],
  ...["X~Gateway~User", "X!Gateway!User", "X|Real|IP", "X+Forwarded+For", "X'Gateway`User"],
  ...["X$Request$Id", "X#Real#IP", "X*Real*IP", "X^Real^IP", "X&Real%IP"],
].map((name) => ({
  name: `the alias ${name}`,
  fields: [`${name}: mallory`],
  upstreamGets: { [name.toLowerCase()]: undefined },
}));

const PLUGIN_ALIASES: readonly HeaderAttack[] = [{
  name: "aliases of a field that a plugin sets",
  fields: ["X-User: mallory", "X_User: mallory", "X.User: mallory", "X~User: mallory"],
  upstreamGets: {
    "x-user": "from the plugin",
    "x_user": undefined,
    "x.user": undefined,
    "x~user": undefined,
  },
}];

const IDENTITY: readonly HeaderAttack[] = [
  ["X-Gateway-User: mallory"],
  ["x-gateway-user: mallory"],
  ["X-GATEWAY-USER: mallory", "X-Gateway-User: root"],
  ["X-Gateway-Admin-Id: 1"],
  ["X-Gateway-: 1"],
  ["X-Gateway-User: mallory", "Authorization: Bearer bad"],
  ["X-Gateway-User:"],
].map((fields) => ({
  name: fields.join(" and "),
  fields,
  upstreamGets: {
    "x-gateway-user": undefined,
    "x-gateway-admin-id": undefined,
    "x-gateway-": undefined,
  },
}));

const LANGUAGE: readonly HeaderAttack[] = [
  ["__proto__", "a"],
  ["constructor", "b"],
  ["prototype", "c"],
  ["toString", "d"],
  ["hasOwnProperty", "e"],
  ["__defineGetter__", "f"],
  ["valueOf", "g"],
].map(([name = "", value = ""]) => ({
  name,
  fields: [`${name}: ${value}`],
  upstreamGets: { [name.toLowerCase()]: value },
}));

attackTest(
  "attacks 1, 12, 13 and 26: a client neither forges nor removes what the gateway and the plugins say (CVE-2022-31813, CVE-2016-5385, CVE-2015-0219)",
  {
    1: [...TAKEN_AWAY, ...HOP_BY_HOP],
    12: [...ALIASES, ...PLUGIN_ALIASES],
    13: IDENTITY,
    26: LANGUAGE,
  },
  (attacks) =>
    withGateway(async ({ gateway, upstream }) => {
      await assertRepelled(attacks.map(asAttack), { gateway, upstream });
      for (const request of upstream.requests) assertShownIsSent(request);
    }),
);

/** Fields by which some servers take another path or method than the request line's. */
const OVERRIDES = [
  "X-Original-URL: /admin",
  "X-Rewrite-URL: /admin",
  "X-HTTP-Method-Override: DELETE",
  "X-HTTP-Method: DELETE",
  "X-Method-Override: DELETE",
];

attackTest(
  "attack 12: fields that override path or method are an upstream's affair, and go where stripInboundHeaders names them",
  { 12: OVERRIDES },
  async (fields) => {
    for (const isStripped of [false, true]) {
      const stripInboundHeaders = ["x-original-url", "x-rewrite-url", "x-http-method*"]
        .concat("x-method-override");
      await withGateway(async ({ gateway, upstream }) => {
        await assertRepelled(
          fields.map((field) => {
            const [name = "", value = ""] = field.split(": ");
            const upstreamGets = { [name.toLowerCase()]: isStripped ? undefined : value };
            return asAttack({ name: field, fields: [field], upstreamGets });
          }),
          { gateway, upstream },
        );
        assertEquals([...new Set(upstream.requests.map((each) => each.method))], ["GET"]);
      }, isStripped ? { stripInboundHeaders } : {});
    }
  },
);
