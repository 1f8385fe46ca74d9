# One image for every part: mcp-platform api | gateway | worker | migrate | setup | runner
FROM python:3.11.13-slim-bookworm AS build

# For networks that inspect TLS: --build-arg EXTRA_CA="$(cat authority.pem)"
ARG EXTRA_CA=""
RUN if [ -n "$EXTRA_CA" ]; then \
        printf '%s\n' "$EXTRA_CA" > /usr/local/share/ca-certificates/extra.crt && update-ca-certificates; \
    fi
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# The packages change less often than the code: their layers come first.
COPY requirements-build.lock requirements.lock ./
RUN python3 -m venv /tools && /tools/bin/pip install --quiet --require-hashes -r requirements-build.lock
RUN python3 -m venv /opt/mcp-platform \
    && /opt/mcp-platform/bin/pip install --quiet --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY mcp_platform mcp_platform
COPY api api
COPY gateway gateway
COPY runner runner
COPY workflows workflows
COPY activities activities
COPY worker worker
COPY storage storage
RUN /tools/bin/python -m hatchling build -t wheel -d /wheel \
    && /opt/mcp-platform/bin/pip install --quiet --no-deps --no-index /wheel/*.whl

FROM python:3.11.13-slim-bookworm

# The folder is where a volume goes that worker and API share: it becomes that user's with it.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin platform \
    && install --directory --owner 10001 --mode 0750 /var/lib/mcp-platform/replica-logs
COPY --from=build /opt/mcp-platform /opt/mcp-platform

# Nothing but /tmp is written, so the root file system may be read-only. A replica's process that the
# runner starts finds its home there too.
ENV PATH=/opt/mcp-platform/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MCP_PLATFORM_DATA_DIR=/tmp/mcp-platform \
    HEALTH_URL=http://127.0.0.1:8000/health
WORKDIR /tmp
USER 10001
EXPOSE 8000 8001 9464

# Each part sets HEALTH_URL to its own address; one-shot commands disable the check.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4)"]

ENTRYPOINT ["mcp-platform"]
CMD ["api"]
