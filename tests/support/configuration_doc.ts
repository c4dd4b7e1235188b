/**
 * The tables of `docs/configuration.md`, from the configuration's schema.
 *
 * @module
 */

import * as z from "zod";
import { configSchema } from "../../gateway/config_schema.ts";
import { markdownTable } from "./prose.ts";

/** The part of JSON Schema that zod writes for this configuration. */
interface Schema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly description?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
}

interface Row {
  readonly key: string;
  readonly schema: Schema;
  readonly required: boolean;
  /** `driver "redis"`, where a key belongs to one form of its section only. */
  readonly form: string | undefined;
}

/** All keys of the gateway, and those of a route. */
export function configurationTables(): { readonly gateway: string; readonly route: string } {
  const { routes, ...gateway } = root().properties ?? {};
  const { required } = root();
  return {
    gateway: table(rows({ properties: gateway, ...(required ? { required } : {}) })),
    route: table(rows(routes?.items ?? {})),
  };
}

/** Every key that holds a value, of the gateway and of a route: `log.level`, `forward.allowedHosts[].host`. */
export function configurationKeys(): {
  readonly gateway: readonly string[];
  readonly route: readonly string[];
} {
  const { routes, ...properties } = root().properties ?? {};
  return { gateway: leaves({ properties }), route: leaves(routes?.items ?? {}) };
}

function leaves(schema: Schema): string[] {
  const keys = [...new Set(rows(schema).map(({ key }) => key))];
  return keys.filter((key) =>
    !keys.some((other) => other.startsWith(`${key}.`) || other.startsWith(`${key}[`))
  );
}

function root(): Schema {
  return z.toJSONSchema(configSchema, { io: "input" }) as Schema;
}

function rows(schema: Schema, prefix = "", form?: string): Row[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const key = `${prefix}${name}`;
    const required = schema.required?.includes(name) ?? false;
    return [{ key, schema: property, required, form }, ...inner(property, key)];
  });
}

/** The keys below `key`. Sections in several forms are told apart by the member that is a constant. */
function inner(schema: Schema, key: string): Row[] {
  if (schema.properties) return rows(schema, `${key}.`);
  if (schema.items) return inner(schema.items, `${key}[]`);
  return forms(schema).flatMap((each) => {
    const [tag] = Object.entries(each.properties ?? {}).filter(([, it]) => "const" in it);
    return rows(each, `${key}.`, tag && `${tag[0]} ${JSON.stringify(tag[1].const)}`);
  });
}

function forms({ anyOf, oneOf }: Schema): readonly Schema[] {
  return anyOf ?? oneOf ?? [];
}

function table(all: readonly Row[]): string {
  return markdownTable(
    ["Key", "Value", "Default", "Meaning"],
    all.map(({ key, schema, required, form }) => [
      `\`${key}\``,
      type(schema),
      schema.default === undefined
        ? required ? "must be given" : ""
        : `\`${JSON.stringify(schema.default)}\``,
      `${form ? `With \`${form}\`: ` : ""}${schema.description ?? ""}`,
    ]),
  );
}

function type(schema: Schema): string {
  if ("const" in schema) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.enum) return schema.enum.map((each) => `\`${JSON.stringify(each)}\``).join(" or ");
  if (schema.items) return `list of ${plural(type(schema.items))}`;
  if (schema.type === "integer") return range(schema);
  if (schema.type === "boolean") return "`true` or `false`";
  const alternatives = forms(schema).map(type);
  return alternatives.length > 0 ? [...new Set(alternatives)].join(" or ") : schema.type ?? "any";
}

function plural(kind: string): string {
  return kind === "string" || kind === "object" ? `${kind}s` : kind;
}

function range({ minimum = 0, maximum = Number.MAX_SAFE_INTEGER }: Schema): string {
  // The largest delay of a timer is no limit that anybody meets.
  return maximum < 2 ** 31 - 1 ? `integer, ${minimum} to ${maximum}` : `integer, from ${minimum}`;
}
