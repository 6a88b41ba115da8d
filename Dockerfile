# A minimal image: one static binary, the public certificate authorities, a
# folder for temporary files and an unprivileged user. The image has no shell
# and no packages to update.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The build context excludes .git, so the version is passed as an argument.
ARG VERSION=
# nodownload leaves the downloader of PostgreSQL out, which only the command dev
# uses. A private PostgreSQL needs a shell, so the image could not run it.
RUN CGO_ENABLED=0 go build -trimpath -tags nodownload -ldflags "-s -w -X lumin-ingest/internal/version.stamped=$VERSION" -o /out/lumin-ingest ./cmd/lumin-ingest
# For the downloads of the job type archive_contract.
RUN mkdir -p /out/root/tmp && chmod 1777 /out/root/tmp
RUN echo 'lumin:x:65532:65532:lumin-ingest:/:/sbin/nologin' > /out/passwd

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/passwd /etc/passwd
COPY --from=build /out/root /
COPY --from=build /out/lumin-ingest /lumin-ingest

# Inside a container, loopback reaches only the container itself, so the program
# listens on all addresses. Access depends on how the ports are published.
ENV LISTEN_ADDR=0.0.0.0:8080 ADMIN_LISTEN_ADDR=0.0.0.0:8081
EXPOSE 8080 8081

# The user is numeric so that an orchestrator can verify that it is not root.
USER 65532:65532

# The program itself asks its admin listener whether it is ready, because the
# image contains no other program. Starting without the database is not a
# failure.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/lumin-ingest", "health"]

ENTRYPOINT ["/lumin-ingest"]
CMD ["serve"]
