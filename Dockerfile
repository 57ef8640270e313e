# One image for every process of Kith; what a container does is its command (deploy/README.md lists them).

FROM node:22-bookworm-slim AS explorer
WORKDIR /explorer
COPY graphiql/package.json graphiql/package-lock.json graphiql/.npmrc ./
RUN npm ci
COPY graphiql/ ./
RUN npm run build

FROM python:3.11-slim-bookworm AS packages
RUN python -m venv /opt/venv
COPY requirements.lock /tmp/requirements.lock
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes --no-deps --only-binary :all: -r /tmp/requirements.lock

FROM python:3.11-slim-bookworm
# An image that is started without settings says what is missing, and never embeds a database of its own.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    KITH_ENV=production \
    KITH_HOST=0.0.0.0 \
    KITH_DATA_DIR=/var/lib/kith
# The data folder is here so that a volume on it starts out as the user's own.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/kith --shell /usr/sbin/nologin kith \
    && install --directory --owner kith --group kith --mode 0700 /var/lib/kith
COPY --from=packages /opt/venv /opt/venv
WORKDIR /kith
COPY . .
COPY --from=explorer /explorer/dist graphiql/dist
# The user cannot write here, so that Python could not keep what it compiles.
RUN python -m compileall -q .

USER kith
EXPOSE 8000 8100
STOPSIGNAL SIGTERM
# Of the web server; a relay or a consumer is asked for /metrics instead, as docker-compose.yml does.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('KITH_PORT') or 8000), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
CMD ["python", "server.py"]
