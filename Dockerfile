# Conduit on Deno, without a shell and without root. Mount the configuration and the plugins:
#
#   docker build -t conduit .
#   docker run -p 8080:8080 -v ./my-gateway:/etc/conduit:ro conduit
#
# What runs is laid out as inside an executable (deploy/stage.ts). An executable itself would bring a second runtime along
# and unpack this Deno at its first start.

FROM node:22-bookworm-slim AS build
# From npm comes a wrapper in JavaScript that does not pass signals on; what is used is the native binary beside it.
# `ignore-scripts`: nothing but the files of the package is needed.
RUN npm install --prefix /opt/deno --ignore-scripts --no-audit --no-fund deno@2.9.6 \
  && cp /opt/deno/node_modules/@deno/linux-*-glibc/deno /usr/local/bin/deno
WORKDIR /opt/conduit
COPY deno.json deno.lock ./
COPY types types
COPY protocol protocol
COPY gateway gateway
COPY plugin-host plugin-host
COPY deploy deploy
# What `conduit init` writes.
COPY examples/init examples/init
COPY main.ts ./
# And an empty folder for the npm packages of plugins.
RUN deno run -A --frozen deploy/stage.ts /opt/app && mkdir -m 700 /opt/cache

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/deno /usr/local/bin/deno
COPY --from=build /opt/app /opt/app
COPY --from=build --chown=nonroot:nonroot /opt/cache /var/cache/conduit
ENV CACHE_DIRECTORY=/var/cache/conduit DENO_NO_UPDATE_CHECK=1 NO_COLOR=1
USER nonroot
WORKDIR /etc/conduit
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/local/bin/deno", "run", "--no-config", "--no-lock", "--no-npm", "--no-remote", "--cached-only", "--allow-all", "--no-prompt", "--unstable-net", "--unstable-no-legacy-abort", "--v8-flags=--max-semi-space-size=8", "/opt/app/main.mjs", "healthcheck"]
# Exec form: the gateway is process 1 and gets SIGTERM itself.
ENTRYPOINT ["/usr/local/bin/deno", "run", "--no-config", "--no-lock", "--no-npm", "--no-remote", "--cached-only", "--allow-all", "--no-prompt", "--unstable-net", "--unstable-no-legacy-abort", "--v8-flags=--max-semi-space-size=8", "/opt/app/main.mjs"]
CMD ["run"]
