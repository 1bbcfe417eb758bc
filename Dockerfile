# servebench alone: a static binary and the certificates it checks servers by. No shell, no user but 65532, nothing to write to
# but what is mounted.
#
#   docker build -t servebench .
#   docker run --rm -v "$PWD:/work" -w /work --user "$(id -u)" servebench run load.yaml --url http://server:8000
#
# The images can come from a mirror: --build-arg GOLANG=mirror/golang:1.26
ARG GOLANG=golang:1.26
FROM ${GOLANG} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY datasets datasets
COPY internal internal
COPY loadgen loadgen
COPY profiles profiles
COPY results results
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/servebench ./cmd/servebench && mkdir /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/tmp /tmp
COPY --from=build /out/servebench /servebench
ENV HOME=/tmp
USER 65532:65532
ENTRYPOINT ["/servebench"]
