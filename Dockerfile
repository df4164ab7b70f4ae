# The published images: `docker build --target worker .` and `docker build --target operator .`, or `make images`.
# Both run as user 65532 and write nowhere but to volumes, so a read-only root file system suits them.

FROM rust:1.95-bookworm AS source
WORKDIR /source
COPY . .

FROM source AS build-worker
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin vmanomaly && cp target/release/vmanomaly /usr/local/bin/

FROM source AS build-operator
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin vmanomaly-operator && cp target/release/vmanomaly-operator /usr/local/bin/

FROM gcr.io/distroless/cc-debian12:nonroot AS operator
LABEL org.opencontainers.image.title="vmanomaly-operator" \
    org.opencontainers.image.description="Turns VMAnomaly, AnomalyModel and AnomalyQuery objects into workers" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build-operator /usr/local/bin/vmanomaly-operator /usr/local/bin/vmanomaly-operator
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/usr/local/bin/vmanomaly-operator"]

FROM gcr.io/distroless/cc-debian12:nonroot AS worker
LABEL org.opencontainers.image.title="vmanomaly" \
    org.opencontainers.image.description="Scores every series of a query in a time series database" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build-worker /usr/local/bin/vmanomaly /usr/local/bin/vmanomaly
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/usr/local/bin/vmanomaly"]
