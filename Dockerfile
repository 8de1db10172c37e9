# The images of the project:
#   docker build --target app .          the agent application (python -m agui_app)
#   docker build --target migrations .   the same files, started as the migration job
#   docker build --target operator .     the operator
# The tests run first: an image whose tests fail is never tagged. Packages are installed from hash-checked lists, bytecode
# is compiled (half of the start time), nothing runs as root and nothing needs a shell. With BuildKit, add
# `--sbom=true --provenance=true` for the bill of materials, and SOURCE_DATE_EPOCH for identical layers.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH
COPY dev/uv.txt /opt/uv.txt
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --require-hashes -r /opt/uv.txt
WORKDIR /srv

FROM tools AS app-files
COPY requirements/app.txt requirements/app.txt
RUN /opt/uv/bin/uv venv --quiet --python python3 .venv \
    && /opt/uv/bin/uv pip install --quiet --require-hashes --python .venv/bin/python -r requirements/app.txt
COPY app/agui_app app/agui_app
COPY migrations migrations
RUN .venv/bin/python -m compileall -q --invalidation-mode unchecked-hash app migrations

FROM tools AS operator-files
COPY requirements/operator.txt requirements/operator.txt
RUN /opt/uv/bin/uv venv --quiet --python python3 .venv \
    && /opt/uv/bin/uv pip install --quiet --require-hashes --python .venv/bin/python -r requirements/operator.txt
COPY operator/agui_operator operator/agui_operator
RUN .venv/bin/python -m compileall -q --invalidation-mode unchecked-hash operator

FROM tools AS tests
COPY requirements/dev.txt requirements/dev.txt
RUN /opt/uv/bin/uv venv --quiet --python python3 .venv \
    && /opt/uv/bin/uv pip install --quiet --require-hashes --python .venv/bin/python -r requirements/dev.txt
COPY . .
ENV PYTHONPATH=/srv/app:/srv/operator:/srv/localgcp PYTHONDONTWRITEBYTECODE=1

FROM tests AS app-tests
RUN .venv/bin/python -m pytest -q -p no:cacheprovider tests/unit/app && touch /tests-passed

FROM tests AS operator-tests
RUN .venv/bin/python -m pytest -q -p no:cacheprovider tests/unit/api tests/unit/checks && touch /tests-passed

FROM ${BASE} AS app
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="AG-UI concierge" \
      org.opencontainers.image.description="An AG-UI agent application: FastAPI + ag-ui-adk, guardrails, PostgreSQL" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# what makes a builder run the tests at all: a stage that nothing needs is skipped
COPY --from=app-tests /tests-passed /tests-passed
# same path as in the stage that built it: scripts in a virtual environment hold it
COPY --from=app-files /srv /srv
ENV PATH=/srv/.venv/bin:$PATH \
    PYTHONPATH=/srv/app \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    AGUI_MIGRATIONS=/srv/migrations \
    AGUI_VERSION=${VERSION} \
    PORT=8080
WORKDIR /srv
USER 10001:10001
EXPOSE 8080
CMD ["python", "-m", "agui_app"]

FROM app AS migrations
CMD ["python", "-m", "agui_app.migrate", "upgrade", "head"]

FROM ${BASE} AS operator
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="agui-operator" \
      org.opencontainers.image.description="Release operator for AG-UI agent applications on Google Cloud" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=operator-tests /tests-passed /tests-passed
COPY --from=operator-files /srv /srv
ENV PATH=/srv/.venv/bin:$PATH \
    PYTHONPATH=/srv/operator \
    PYTHONUNBUFFERED=1
WORKDIR /srv
USER 65532:65532
ENTRYPOINT ["python", "-m", "agui_operator"]
CMD ["run"]
