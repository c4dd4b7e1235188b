/**
 * What looks like a secret by its name, and how it is shown instead: in what plugins proposed, and in the configuration.
 *
 * @module
 */

export const MASK = "***";

/** How the name of a secret ends, of a header as of a key or a variable. */
const SECRET = /(?:authorization|cookie|token|secret|key|signature|password|session|session.?id)$/i;

export function isSecretName(name: string): boolean {
  return SECRET.test(name);
}

/** Words of a variable's name that say that its value is a secret. */
const SECRET_WORD =
  /(?:^|_)(?:secrets?|tokens?|pass|passwd|password|pwd|key|apikey|credentials?|signature|auth|cookie|dsn)(?:_|$)/i;

/** Whether an environment variable holds a secret: `DB_PASSWORD`, `TOKEN_FOR_CI`. */
export function isSecretVariable(name: string): boolean {
  return isSecretName(name) || SECRET_WORD.test(name);
}

/** A URL with the values of secret parameters, and a password before the host, masked. */
export function maskedUrl(url: string): string {
  return url
    .replace(/^([a-z][a-z+.-]*:\/\/[^/?#@:]*):[^/?#@]*@/i, `$1:${MASK}@`)
    .replaceAll(
      /([?&])([^=&#]*)=[^&#]*/g,
      (whole, mark, name) => isSecretName(name) ? `${mark}${name}=${MASK}` : whole,
    );
}
