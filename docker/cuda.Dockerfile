# segx on an NVIDIA GPU of an x86-64 machine: TensorRT 10 on CUDA 12, and OpenVINO. Without PyTorch.
#   docker build -f docker/cuda.Dockerfile -t segx:cuda .
#   docker run --rm --gpus all -v "$PWD:/data" -v segx-cache:/cache segx:cuda infer scene --bundle b.segx
ARG CUDA=12.6.3

FROM python:3.12-slim-bookworm AS wheel
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM nvidia/cuda:${CUDA}-runtime-ubuntu24.04
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libexpat1 python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/segx
ENV PATH=/opt/segx/bin:$PATH
COPY constraints /constraints
COPY --from=wheel /wheels /wheels
# cuda-python 13 needs CUDA 13; the engines that TensorRT builds are kept in /cache.
RUN python -m pip install --no-cache-dir -c /constraints/py312.txt \
    "$(echo /wheels/*.whl)[tensorrt]" "cuda-python<13" "tensorrt-cu12>=10.3,<11"
RUN useradd --create-home --uid 10001 segx && mkdir /data /cache && chown segx /data /cache
USER 10001
ENV SEGX_CACHE=/cache
VOLUME /cache
WORKDIR /data
ENTRYPOINT ["segx"]
CMD ["--help"]
