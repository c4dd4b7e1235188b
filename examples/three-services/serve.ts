/**
 * One service of the example, for a container of its own: `deno run -A examples/three-services/serve.ts user`. It listens on every address
 * of its port, or of `EXAMPLE_PORT`, and ends with SIGTERM.
 *
 * @module
 */

import { PORTS, type Ports } from "./example.ts";
import { adminService, chatService, type Service, userService } from "./services.ts";

const at = (port: number) => ({
  hostname: "0.0.0.0",
  port: Number(Deno.env.get("EXAMPLE_PORT") ?? port),
});

const SERVICES: Readonly<Record<keyof Ports, () => Service | Promise<Service>>> = {
  user: () => userService(at(PORTS.user)),
  admin: () => {
    const secret = Deno.env.get("ADMIN_JWT_SECRET");
    if (!secret) throw new Error("ADMIN_JWT_SECRET is not set");
    return adminService({ ...at(PORTS.admin), secret });
  },
  chat: () => chatService(at(PORTS.chat)),
  beta: () => chatService({ ...at(PORTS.beta), name: "chat-service-beta" }),
};

const [name = ""] = Deno.args;
if (!Object.hasOwn(SERVICES, name)) {
  throw new Error(`name one of ${Object.keys(SERVICES).join(", ")}`);
}
const service = await SERVICES[name as keyof Ports]();
console.log(`${name} listens on port ${service.port}`);
Deno.addSignalListener("SIGTERM", async () => {
  await service.shutdown();
  Deno.exit(0);
});
