# segx on a Jetson with JetPack 6.1 or later: the TensorRT of JetPack, and OpenVINO. Without PyTorch.
#   docker build -f docker/l4t.Dockerfile -t segx:l4t .
#   docker run --rm --runtime nvidia -v "$PWD:/data" -v segx-cache:/cache segx:l4t infer scene --bundle b.segx
ARG JETPACK=r36.4.0

FROM python:3.10-slim-bookworm AS wheel
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM nvcr.io/nvidia/l4t-jetpack:${JETPACK}
# TensorRT's Python package is the system's, where an ordinary virtual environment does not look.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libexpat1 python3-libnvinfer python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv --system-site-packages /opt/segx
ENV PATH=/opt/segx/bin:$PATH
COPY constraints /constraints
COPY --from=wheel /wheels /wheels
RUN python -m pip install --no-cache-dir -c /constraints/py310.txt \
    "$(echo /wheels/*.whl)[tensorrt]" "cuda-python<13"
RUN useradd --create-home --uid 10001 --groups video segx && mkdir /data /cache && chown segx /data /cache
USER 10001
ENV SEGX_CACHE=/cache
VOLUME /cache
WORKDIR /data
ENTRYPOINT ["segx"]
CMD ["--help"]
