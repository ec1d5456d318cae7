# syntax=docker/dockerfile:1
# docker build -t mmvision .                           for a CPU
# docker build -t mmvision --build-arg DEVICE=cuda .   for GPUs, of which none is needed to build it
ARG PYTHON=3.11

FROM python:${PYTHON}-bookworm AS build
ARG DEVICE=cpu
# Of the GPUs to compile for, such as "8.0;9.0"; empty: those that setup_env.py has.
ARG TORCH_CUDA_ARCH_LIST=
# For instance PyTorch's own of CPU builds, which are several GB smaller.
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /src
COPY . .
# As `make env` does it, from the same constraints; then the package itself in place of a link to it.
RUN --mount=type=cache,target=/root/.cache \
    python tools/setup_env.py --venv /opt/mmvision --device "$DEVICE" && \
    /opt/mmvision/bin/python -m pip install --no-deps --no-build-isolation --force-reinstall .

FROM python:${PYTHON}-slim-bookworm
ARG DEVICE=cpu
# OpenCV asks for libGL; on a GPU, Triton compiles what launches its kernels.
RUN apt-get update && \
    apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
        $([ "$DEVICE" = cuda ] && echo gcc libc6-dev) && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/mmvision /opt/mmvision
# Whoever it is run as (docker run --user) has a home and a name.
ENV PATH=/opt/mmvision/bin:$PATH HOME=/home/mmvision USER=mmvision MMVISION_DATA=/data
RUN install -d -m 1777 "$HOME" /work
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["mmvision"]
CMD ["--help"]
