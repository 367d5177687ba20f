# The one image: the program alone, for gateways, agents and the command line. docs/containers.md says how to run it.
#
#   docker build --tag warren .
#   docker build --tag warren --build-arg PROGRAM=prebuilt .    with what packaging/image/prebuild has put into target/image
#
# It is built for the machine's own architecture, amd64 or arm64; --platform takes another one where that can run.
ARG RUST=rust:1.95-bookworm
ARG PROGRAM=built

FROM ${RUST} AS built
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    packaging/image/prebuild /image

FROM scratch AS prebuilt
COPY target/image/ /image/

FROM ${PROGRAM} AS program

FROM scratch
COPY --from=program /image/ /
COPY packaging/image/etc/ /etc/
ENV PATH=/usr/bin TMPDIR=/var/lib/warren WARREN_METRICS=127.0.0.1:9100
USER 65532:65532
# Made as that user, so that a new volume is that user's, too.
WORKDIR /var/lib/warren
VOLUME /var/lib/warren
# The gateway; the other members of an agent.
EXPOSE 443 7400
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["warren", "probe"]
ENTRYPOINT ["warren"]
CMD ["agent"]
