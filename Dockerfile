# The images of the project (docs/images.md has sizes, times and the traps):
#   --target app          the agent application (python -m agui_app)
#   --target migrations   the same files, started as the migration job
#   --target operator     the operator
#   --target e2e          Chromium and a release's own browser check, run against E2E_BASE_URL
#   --target bundle       nothing but the browser application's release archive
# Build with `python -m agui_dev.images build --target app` (buildah, no daemon) or `docker build --target app .`.
# The tests run first: an image whose tests fail is never made. Packages come from hash-checked lists, bytecode is
# compiled (half of the start time), nothing runs as root, nothing needs a shell, and the same SOURCE_DATE_EPOCH gives
# the same layers.
# What is shipped stands on bases with a digest: `--pinned` demands that (docs/images.md).
ARG BASE=python:3.11-slim-bookworm
ARG NODE_BASE=node:22-bookworm-slim

# --- what builds ---------------------------------------------------------------------------------------------------

FROM ${BASE} AS tools
# PYTHONHASHSEED: the bytecode of a set literal follows the order of its hashes.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONHASHSEED=0 \
    PYTHONDONTWRITEBYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_PROGRESS=1 \
    UV_PYTHON_DOWNLOADS=never \
    UV_SYSTEM_CERTS=1
COPY dev/uv.txt /opt/uv.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --quiet --require-hashes -r /opt/uv.txt
WORKDIR /srv

FROM tools AS dev
COPY requirements/dev.txt /opt/dev.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv venv --quiet --python python3 /opt/dev \
    && /opt/uv/bin/uv pip install --quiet --require-hashes --compile-bytecode --python /opt/dev/bin/python -r /opt/dev.txt

# --- what is shipped: dependencies and our own code apart, so that a new release moves little ----------------------
# uv leaves a `.lock` file that everybody may write to.

FROM tools AS app-dependencies
COPY requirements/app.txt /opt/app.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv venv --quiet --python python3 .venv \
    && /opt/uv/bin/uv pip install --quiet --require-hashes --python .venv/bin/python -r /opt/app.txt \
    && rm .venv/.lock \
    && .venv/bin/python -m compileall -q --invalidation-mode unchecked-hash .venv/lib

FROM tools AS operator-dependencies
COPY requirements/operator.txt /opt/operator.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv venv --quiet --python python3 .venv \
    && /opt/uv/bin/uv pip install --quiet --require-hashes --python .venv/bin/python -r /opt/operator.txt \
    && rm .venv/.lock \
    && .venv/bin/python -m compileall -q --invalidation-mode unchecked-hash .venv/lib

# Through a wheel, so that the installed project knows its own version. Ours are pure Python, so that unpacking is all
# there is to do; uv would also write down when the wheel was made.
FROM dev AS app-code
COPY app /src
WORKDIR /src
RUN SOURCE_DATE_EPOCH=315532800 /opt/dev/bin/python -m hatchling build --target wheel --directory /opt/wheels \
    && python3 -m zipfile --extract /opt/wheels/*.whl /srv/app
COPY migrations /srv/migrations
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /srv/app /srv/migrations

FROM dev AS operator-code
COPY pyproject.toml README.md LICENSE /src/
COPY operator /src/operator
WORKDIR /src
RUN SOURCE_DATE_EPOCH=315532800 /opt/dev/bin/python -m hatchling build --target wheel --directory /opt/wheels \
    && python3 -m zipfile --extract /opt/wheels/*.whl /srv/operator \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /srv/operator

# Bills of materials (CycloneDX) of exactly those environments and of the base image's Debian packages: the stage stands
# on the base that is shipped, and installs none. The list is copied because a builder's cache knows what was copied, and
# not what was mounted.
FROM tools AS sbom-tool
COPY requirements/sbom.txt /opt/sbom.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv venv --quiet --python python3 /opt/sbom \
    && /opt/uv/bin/uv pip install --quiet --require-hashes --python /opt/sbom/bin/python -r /opt/sbom.txt

FROM sbom-tool AS app-sbom
COPY requirements/app.txt app/pyproject.toml dev/agui_dev/images/debian.py /opt/
RUN --mount=type=bind,from=app-dependencies,source=/srv/.venv,target=/srv/.venv \
    /opt/sbom/bin/cyclonedx-py environment --output-reproducible --pyproject /opt/pyproject.toml \
    --output-file /opt/sbom.cdx.json .venv/bin/python \
    && python3 /opt/debian.py /var/lib/dpkg/status /etc/os-release /opt/sbom.cdx.json

FROM sbom-tool AS operator-sbom
COPY requirements/operator.txt pyproject.toml dev/agui_dev/images/debian.py /opt/
RUN --mount=type=bind,from=operator-dependencies,source=/srv/.venv,target=/srv/.venv \
    /opt/sbom/bin/cyclonedx-py environment --output-reproducible --pyproject /opt/pyproject.toml \
    --output-file /opt/sbom.cdx.json .venv/bin/python \
    && python3 /opt/debian.py /var/lib/dpkg/status /etc/os-release /opt/sbom.cdx.json

# --- tests ---------------------------------------------------------------------------------------------------------

FROM dev AS tests
ENV PATH=/opt/dev/bin:$PATH \
    PYTHONPATH=/srv/app:/srv/operator:/srv/localgcp:/srv/dev
COPY . .

FROM tests AS app-tests
RUN python -m pytest -q -p no:cacheprovider tests/unit/app && touch /tests-passed

FROM tests AS operator-tests
RUN python -m pytest -q -p no:cacheprovider tests/unit/api tests/unit/core tests/unit/checks && touch /tests-passed

# --- browser application -------------------------------------------------------------------------------------------

FROM ${NODE_BASE} AS browser-dependencies
WORKDIR /srv/frontend
COPY frontend/package.json frontend/package-lock.json ./
RUN --mount=type=cache,target=/root/.npm \
    npm ci --no-audit --no-fund --loglevel=error

FROM browser-dependencies AS browser-tests
COPY frontend .
RUN npm run --silent check && npm run --silent test && touch /tests-passed

FROM browser-tests AS browser-bundle
ARG VERSION=dev
ARG REVISION=unknown
RUN AGUI_VERSION=${VERSION} AGUI_REVISION=${REVISION} npm run --silent bundle \
    && mkdir /out && cp build/*.tar.gz build/size.json /out/

# --- what is shipped -----------------------------------------------------------------------------------------------
# No RUN from here on but for Chromium, and what changes with every commit comes last: the layers below it stay.

FROM ${BASE} AS app
# what makes a builder run the tests at all: a stage that nothing needs is skipped
COPY --from=app-tests /tests-passed /tests-passed
# same path as in the stage that built it: scripts in a virtual environment hold it
COPY --from=app-dependencies /srv/.venv /srv/.venv
COPY --from=app-sbom /opt/sbom.cdx.json /srv/sbom.cdx.json
COPY --from=app-code /srv/migrations /srv/migrations
COPY --from=app-code /srv/app /srv/app
WORKDIR /srv
USER 10001:10001
EXPOSE 8080
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
ARG BASE
ARG BASE_DIGEST=unknown
ENV PATH=/srv/.venv/bin:$PATH \
    PYTHONPATH=/srv/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    AGUI_MIGRATIONS=/srv/migrations \
    AGUI_VERSION=${VERSION} \
    PORT=8080
LABEL org.opencontainers.image.title="AG-UI concierge" \
      org.opencontainers.image.description="An AG-UI agent application: FastAPI + ag-ui-adk, guardrails, PostgreSQL" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"
CMD ["python", "-m", "agui_app"]

FROM app AS migrations
LABEL org.opencontainers.image.title="AG-UI concierge, migrations"
CMD ["python", "-m", "agui_app.migrate", "upgrade", "head"]

FROM ${BASE} AS operator
COPY --from=operator-tests /tests-passed /tests-passed
COPY --from=operator-dependencies /srv/.venv /srv/.venv
COPY --from=operator-sbom /opt/sbom.cdx.json /srv/sbom.cdx.json
COPY --from=operator-code /srv/operator /srv/operator
WORKDIR /srv
USER 65532:65532
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
ARG BASE
ARG BASE_DIGEST=unknown
ENV PATH=/srv/.venv/bin:$PATH \
    PYTHONPATH=/srv/operator \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
LABEL org.opencontainers.image.title="agui-operator" \
      org.opencontainers.image.description="Release operator for AG-UI agent applications on Google Cloud" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"
ENTRYPOINT ["python", "-m", "agui_operator"]
CMD ["run"]

FROM scratch AS bundle
COPY --from=browser-bundle /out/ /

FROM ${NODE_BASE} AS e2e
# The newest Chromium of the distribution: an old browser proves little, and the archive keeps no old ones.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/aux-cache /var/log/*.log /var/log/apt
COPY --from=browser-tests /tests-passed /tests-passed
WORKDIR /srv/frontend
# the test runner alone: what the application itself is made of is already in its bundle
COPY --from=browser-dependencies /srv/frontend/node_modules/@playwright node_modules/@playwright
COPY --from=browser-dependencies /srv/frontend/node_modules/playwright node_modules/playwright
COPY --from=browser-dependencies /srv/frontend/node_modules/playwright-core node_modules/playwright-core
COPY frontend/package.json ./
COPY frontend/check check
USER 10001:10001
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
ARG NODE_BASE
ARG NODE_BASE_DIGEST=unknown
ENV CHROMIUM=/usr/bin/chromium \
    CI=1 \
    HOME=/tmp
LABEL org.opencontainers.image.title="AG-UI concierge, browser check" \
      org.opencontainers.image.description="The browser check of a release and Chromium, run against E2E_BASE_URL" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${NODE_BASE}" \
      org.opencontainers.image.base.digest="${NODE_BASE_DIGEST}"
# `npx playwright test`, without a shell and without npm between the signal and the runner; results go to /tmp
CMD ["node", "node_modules/@playwright/test/cli.js", "test", "-c", "check/playwright.config.ts"]
