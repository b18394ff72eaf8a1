# syntax=docker/dockerfile:1
# The image of the operator. Everything that is installed is pinned with a hash; the result runs as a numeric user and
# needs to write nowhere but /tmp.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src

# The dependencies first: they change less often than the source, so this layer is mostly taken from the cache.
COPY requirements/ requirements/
RUN python -m venv --without-pip /opt/regent \
 && python -m pip --python /opt/regent/bin/python install --require-hashes --only-binary :all: -r requirements/runtime.lock \
 && python -m venv /tools \
 && /tools/bin/pip install --require-hashes -r requirements/dev.lock

COPY pyproject.toml README.md LICENSE ./
COPY crds/ crds/
COPY operator/ operator/
RUN /tools/bin/python -m build --wheel --no-isolation --outdir /dist \
 && python -m pip --python /opt/regent/bin/python install --no-deps --no-index /dist/*.whl \
 && /opt/regent/bin/python -m compileall -q /opt/regent/lib

FROM python:3.11-slim-bookworm
ENV PATH=/opt/regent/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/regent /opt/regent
RUN ln -s /opt/regent/bin/regent /usr/local/bin/kubectl-regent
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
# The process handles SIGTERM itself: it releases the lease and closes its connections.
STOPSIGNAL SIGTERM
ENTRYPOINT ["regent"]
CMD ["run"]
