# segx on a processor: the base install, with OpenVINO. Without PyTorch.
#   docker build -f docker/cpu.Dockerfile -t segx:cpu .
#   docker run --rm -v "$PWD:/data" -u "$(id -u):$(id -g)" segx:cpu infer scene --bundle b.segx
FROM python:3.12-slim-bookworm AS wheel
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
# Needed by rasterio's wheels, and not in slim images.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/*
COPY constraints /constraints
COPY --from=wheel /wheels /wheels
RUN python -m pip install --no-cache-dir -c /constraints/py312.txt /wheels/*.whl
RUN useradd --create-home --uid 10001 segx && mkdir /data && chown segx /data
USER 10001
# Writable for whoever the container runs as.
ENV SEGX_CACHE=/var/tmp/segx-cache
WORKDIR /data
ENTRYPOINT ["segx"]
CMD ["--help"]
