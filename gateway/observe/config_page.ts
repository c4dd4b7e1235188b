/**
 * `/config`: the effective configuration, with all defaults and without secrets.
 *
 * @module
 */

import { type AdminPage, jsonForPeople } from "../admin.ts";
import { type Config, secretsOf } from "../config.ts";
import { listenAddressText } from "../listen.ts";
import { isSecretName, MASK, maskedUrl } from "../masking.ts";
import { originText } from "../upstream/origin.ts";

/** A value of a secret variable that is shorter hides only where it stands alone: it may be a part of anything. */
const MIN_PART_CHARS = 4;

/** @param config gives the one that is at work */
export function configPage(config: () => Config): AdminPage {
  return () => jsonForPeople(200, maskedConfig(config()));
}

/** The configuration for people: addresses and origins as the file has them, secrets as `***`. */
export function maskedConfig(config: Config): object {
  const { listen, admin, routes, pluginConfig, ...rest } = config;
  const secrets = secretsOf(config).toSorted((a, b) => b.length - a.length);
  const settings = maskedValue({
    ...rest,
    listen: listenAddressText(listen),
    admin: admin && { ...admin, listen: listenAddressText(admin.listen) },
    routes: routes.map(({ upstreams, ...route }) => ({
      ...route,
      upstreams: upstreams.map(originText),
    })),
  }, secrets);
  return {
    ...settings as object,
    // The keys are names of plugins, which may end in -session or -key.
    pluginConfig: entries(pluginConfig, (each) => maskedValue(each, secrets)),
  };
}

function maskedValue(value: unknown, secrets: readonly string[]): unknown {
  if (typeof value === "string") return maskedText(value, secrets);
  if (Array.isArray(value)) return value.map((each) => maskedValue(each, secrets));
  if (typeof value !== "object" || value === null) return value;
  // What has no value hides nothing: `null`, `false` and the like say only that there is no secret.
  return entries(
    value,
    (each, key) => each && isSecretName(key) ? MASK : maskedValue(each, secrets),
  );
}

function maskedText(text: string, secrets: readonly string[]): string {
  let shown = maskedUrl(text);
  for (const secret of secrets) {
    if (shown === secret) return MASK;
    if (secret.length >= MIN_PART_CHARS) shown = shown.replaceAll(secret, MASK);
  }
  return shown;
}

function entries(
  map: object,
  change: (value: unknown, key: string) => unknown,
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(map).map(([key, each]) => [key, change(each, key)]));
}
