# One image for every process of meterport; the command says which it is.
# No HEALTHCHECK: only the API answers HTTP, so that the checks stand in compose.yaml and deploy/.

FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements-uv.lock requirements.lock pyproject.toml ./
# The lock also has what tests need, as much again: it gives versions and hashes, pyproject.toml
# says which of them. What is not in the lock, or has another hash, is refused.
RUN python -m venv tools \
    && tools/bin/pip install --no-cache-dir --require-hashes -r requirements-uv.lock \
    && tools/bin/uv pip install --no-cache --python tools/bin/python --require-hashes \
        --constraint requirements.lock flit_core==3.12.0 \
    && python -m venv --without-pip /opt/meterport \
    && tools/bin/uv pip install --no-cache --python /opt/meterport/bin/python --require-hashes \
        --constraint requirements.lock --requirement pyproject.toml --extra distributed \
        --only-binary :all: --compile-bytecode
COPY README.md LICENSE ./
COPY src src
RUN tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && tools/bin/uv pip install --no-cache --python /opt/meterport/bin/python --no-deps \
        --compile-bytecode dist/*.whl

FROM python:3.13-slim
COPY --from=build /opt/meterport /opt/meterport
# With a name, or Celery takes a group that it does not find for root's.
RUN groupadd --gid 10001 meterport \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home meterport \
    && install -d -m 0700 -o 10001 -g 10001 /data
# Nothing is written but to METERPORT_DATA and /tmp.
ENV PATH=/opt/meterport/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    METERPORT_DATA=/data
USER 10001:10001
WORKDIR /data
EXPOSE 8000
CMD ["meterport", "api"]
