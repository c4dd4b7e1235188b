# Conduit from source on Deno, without a shell and without root. Mount the configuration and the plugins:
#
#   docker build -t conduit .
#   docker run -p 8080:8080 -v ./my-gateway:/etc/conduit:ro conduit

FROM node:22-bookworm-slim AS build
# From npm comes a wrapper in JavaScript that does not pass signals on; what is used is the native binary beside it.
# `ignore-scripts`: nothing but the files of the package is needed.
RUN npm install --prefix /opt/deno --ignore-scripts --no-audit --no-fund deno@2.9.6 \
  && cp /opt/deno/node_modules/@deno/linux-*-glibc/deno /usr/local/bin/deno
WORKDIR /opt/conduit
ENV DENO_DIR=/opt/deno-dir
COPY deno.json deno.lock ./
COPY types types
COPY protocol protocol
COPY gateway gateway
COPY plugin-host plugin-host
# What `conduit init` writes.
COPY examples/init examples/init
COPY main.ts ./
# The packages of deno.lock into DENO_DIR, and a first run that puts the translated source there too.
RUN deno install --frozen --entrypoint main.ts \
  && deno run -A --cached-only main.ts version

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/deno /usr/local/bin/deno
COPY --from=build /opt/deno-dir /opt/deno-dir
COPY --from=build /opt/conduit /opt/conduit
ENV DENO_DIR=/opt/deno-dir DENO_NO_UPDATE_CHECK=1 NO_COLOR=1
USER nonroot
WORKDIR /etc/conduit
EXPOSE 8080
STOPSIGNAL SIGTERM
# For the default of `admin.listen`. There is no shell here, and no `conduit healthcheck` yet.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/local/bin/deno", "eval", "--no-config", "Deno.exit((await fetch('http://127.0.0.1:9901/healthz')).ok ? 0 : 1)"]
# Exec form: the gateway is process 1 and gets SIGTERM itself.
ENTRYPOINT ["/usr/local/bin/deno", "run", "--allow-all", "--cached-only", "--frozen", "/opt/conduit/main.ts"]
CMD ["run", "--config", "/etc/conduit/conduit.config.json"]
