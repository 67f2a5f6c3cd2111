# Spillway's image: the built sources and the packages they need, run by a user without rights.
#
#   docker build --tag spillway .
#   docker run --env DATABASE_URL=postgres://… spillway              serves, until SIGTERM
#   docker run --env DATABASE_URL=postgres://… spillway migrate      any other command

FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# Leaving out "optional" drops `pg`, which only a development tool brings along.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# The compiler needs neither install scripts nor native binaries; without them no second Node and no
# PostgreSQL are downloaded.
RUN npm ci --omit=optional --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json version.ts ./
COPY scripts/build.ts scripts/
COPY migrations migrations
COPY providers providers
COPY src src
RUN node scripts/build.ts

FROM node:24-bookworm-slim
LABEL org.opencontainers.image.title="Spillway" \
      org.opencontainers.image.description="Streams the rows of PostgreSQL audit tables to HTTP endpoints and SIEMs, and loses none in silence" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# Probes come from outside of the container.
ENV NODE_ENV=production \
    SPILLWAY_HTTP_HOST=0.0.0.0
WORKDIR /app
COPY package.json LICENSE ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
# The user `node`, by number: Kubernetes can only tell from a number that it is not root (runAsNonRoot).
USER 1000:1000
EXPOSE 8787
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s CMD ["node", "dist/src/healthcheck.js"]
# Without a shell or npm in between, SIGTERM reaches the daemon, which then drains.
ENTRYPOINT ["node", "dist/src/main.js"]
CMD ["run"]
