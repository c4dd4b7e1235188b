/**
 * How mistakes in the configuration are collected and worded: a path in JavaScript notation, the value as it stands in
 * the file, what is wrong, and the remedy. Values are shown as written, so what the environment put into a `${NAME}` is
 * never shown.
 *
 * @module
 */

import { levenshteinDistance } from "@std/text";
import type { Json } from "../protocol/snapshot.ts";
import { UserError } from "./errors.ts";
import type { Path } from "./json_text.ts";

export interface ConfigProblem {
  /** `routes[1].upstream`, or the file's name where the problem is the file itself. */
  readonly path: string;
  readonly message: string;
}

/** The configuration cannot be used. `message` has one problem a line. */
export class ConfigError extends UserError {
  override readonly name = "ConfigError";
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super(problems.map(({ path, message }) => `${path}: ${message}`).join("\n"));
    this.problems = problems;
  }
}

/** Of the cache's store: values that are, or hold, a secret. */
const SECRET_KEYS: readonly (string | number)[] = ["url", "token"];

/** Collects problems of one file. `written` is the document before the environment came in. */
export class Report {
  readonly #file: string;
  readonly #written: Json;
  readonly #problems: ConfigProblem[] = [];

  constructor(file: string, written: Json) {
    this.#file = file;
    this.#written = written;
  }

  get problems(): readonly ConfigProblem[] {
    return this.#problems;
  }

  add(path: Path, message: string): void {
    this.#problems.push({ path: path.length === 0 ? this.#file : formatPath(path), message });
  }

  /** The same of the value at `path`, which stands before the `problem`. */
  refuse(path: Path, problem: string): void {
    this.add(path, `${this.shown(path)} ${problem}`);
  }

  has(path: Path): boolean {
    return this.#problems.some((problem) => problem.path === formatPath(path));
  }

  /** The value at `path` for a message: quoted, or `value of ${NAME}`, or no more than that there is one. */
  shown(path: Path): string {
    const written = valueAt(this.#written, path);
    if (SECRET_KEYS.includes(path.at(-1) ?? "")) return "what is given";
    if (this.isLiteral(path)) return quote(written);
    const isWhole = typeof written === "string" && /^\$\{[^}]*\}$/.test(written);
    return `value of ${isWhole ? written : quote(written)}`;
  }

  /** Whether the value at `path` has nothing of the environment, so that a corrected form may be printed. */
  isLiteral(path: Path): boolean {
    const written = valueAt(this.#written, path);
    return typeof written !== "string" || !written.includes("${");
  }
}

/** The value at `path`, undefined if there is none. */
export function valueAt(value: Json, path: Path): Json | undefined {
  let here: unknown = value;
  for (const key of path) {
    if (typeof here !== "object" || here === null || !Object.hasOwn(here, key)) return undefined;
    here = (here as Record<string | number, unknown>)[key];
  }
  return here as Json;
}

/** `["routes", 1, "a-b"]` as `routes[1]["a-b"]`. */
export function formatPath(path: Path): string {
  return path.map((key, index) => {
    if (typeof key === "number") return `[${key}]`;
    if (!/^[A-Za-z_$][\w$]*$/.test(key)) return `[${JSON.stringify(key)}]`;
    return index === 0 ? key : `.${key}`;
  }).join("");
}

/** A value as JSON, cut to a readable length and without the user part of URLs, which may be a password. */
export function quote(value: Json | undefined): string {
  const text = JSON.stringify(value, (key, each) => SECRET_KEYS.includes(key) ? "***" : each) ??
    "nothing";
  const safe = text.replace(/:\/\/[^"\s]*@/g, "://***@");
  return safe.length <= 100 ? safe : `${safe.slice(0, 99)}…`;
}

/** What to say of a key that `known` lacks. */
export function unknownKey(key: string, known: readonly string[]): string {
  const given = key.toLowerCase().slice(0, 64);
  const near = known
    .map((name) => ({ name, edits: levenshteinDistance(given, name.toLowerCase()) }))
    .reduce((best, next) => next.edits < best.edits ? next : best);
  const isNear = near.edits <= Math.max(1, Math.ceil(near.name.length / 3));
  return isNear
    ? `unknown key, did you mean "${near.name}"?`
    : `unknown key, known here: ${known.join(", ")}`;
}
