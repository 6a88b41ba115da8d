# The program by itself: one static binary, the public certificate authorities,
# a folder for temporary files and a user without rights. The image has no shell and nothing to update.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The repository's history is not part of the build, so the version comes with it.
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X lumin-ingest/internal/version.stamped=$VERSION" -o /out/lumin-ingest ./cmd/lumin-ingest
# For what archive_contract downloads.
RUN mkdir -p /out/root/tmp && chmod 1777 /out/root/tmp
RUN echo 'lumin:x:65532:65532:lumin-ingest:/:/sbin/nologin' > /out/passwd

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/passwd /etc/passwd
COPY --from=build /out/root /
COPY --from=build /out/lumin-ingest /lumin-ingest

# Inside a container loopback is the container itself, so listen everywhere and
# let whoever publishes the ports decide who reaches them.
ENV LISTEN_ADDR=0.0.0.0:8080 ADMIN_LISTEN_ADDR=0.0.0.0:8081
EXPOSE 8080 8081

# Numeric, so that an orchestrator can see that it is not root.
USER 65532:65532

# Whether it is ready, asked on the admin listener by the program itself: there
# is no other in here. Starting without its database is no failure.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/lumin-ingest", "health"]

ENTRYPOINT ["/lumin-ingest"]
CMD ["serve"]
