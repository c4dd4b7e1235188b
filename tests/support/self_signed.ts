/**
 * A self-signed certificate, by `openssl`.
 *
 * @module
 */

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** For the host `name`; undefined where there is no openssl on this machine. */
export async function selfSigned(name: string): Promise<Certificate | undefined> {
  const directory = await Deno.makeTempDir();
  try {
    const { success } = await new Deno.Command("openssl", {
      args: [
        ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(" "),
        ...`-keyout key.pem -out cert.pem -subj /CN=${name}`.split(" "),
        ...["-addext", `subjectAltName=DNS:${name}`],
        ...["-addext", "basicConstraints=critical,CA:FALSE"],
      ],
      cwd: directory,
      stderr: "null",
    }).output();
    if (!success) return undefined;
    const read = (file: string) => Deno.readTextFile(`${directory}/${file}`);
    return { cert: await read("cert.pem"), key: await read("key.pem") };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
