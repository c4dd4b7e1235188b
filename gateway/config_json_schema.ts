/**
 * The configuration as JSON Schema (draft 2020-12), for editors and other checkers. What it refuses does not start; it knows less than the
 * gateway does: notations inside strings and rules that span several keys are not in it.
 *
 * @module
 */

import * as z from "zod";
import { configSchema } from "./config_schema.ts";

/** A string that has something of the environment in it may stand for any other one. */
const FROM_ENVIRONMENT = { type: "string", pattern: "\\$\\{" };

/** What `conduit schema` prints. */
export function configJsonSchema(): Readonly<Record<string, unknown>> {
  const { $schema, ...rest } = z.toJSONSchema(configSchema, {
    io: "input",
    override: ({ jsonSchema, path }) => {
      // The word that tells the forms of a section apart is left alone: a form would no longer be told by it.
      const isForm = path.at(-2) === "properties" && jsonSchema.const !== undefined;
      const isWord = jsonSchema.enum !== undefined || typeof jsonSchema.const === "string";
      if (!isWord || isForm) return;
      const { enum: words, const: word, type } = jsonSchema;
      for (const key of ["enum", "const", "type"] as const) delete jsonSchema[key];
      jsonSchema.anyOf = [
        { ...(type ? { type } : {}), ...(words ? { enum: words } : { const: word }) },
        FROM_ENVIRONMENT as z.core.JSONSchema.BaseSchema,
      ];
    },
  });
  return { $schema, title: "The configuration of Conduit, conduit.config.json", ...rest };
}
