# sdpn on the CPU, or on a GPU with --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
#
#   docker build -t sdpn .
#   docker run --rm -v "$PWD:/data" sdpn diarize meeting.wav --out out/ --report
#   docker run --rm -v "$PWD:/data" -p 127.0.0.1:8000:8000 -e SDPN_TOKEN sdpn serve --out service/ --host 0.0.0.0
#
# It works offline: the models are inside. It runs as an unprivileged user; on Linux, --user "$(id -u):$(id -g)" makes
# the files that it writes yours.

FROM python:3.12-slim AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY setup.py README.md LICENSE constraints.txt ./
COPY sdpn ./sdpn
RUN python -m venv /opt/sdpn \
 && PIP_CONSTRAINT=constraints.txt /opt/sdpn/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" '.[onnx,serve]'

FROM python:3.12-slim
COPY --from=build /opt/sdpn /opt/sdpn
RUN useradd --create-home --uid 1000 sdpn
USER 1000
ENV PATH=/opt/sdpn/bin:$PATH SDPN_HOME=/home/sdpn/.sdpn
WORKDIR /data
ENTRYPOINT ["sdpn"]
CMD ["--help"]
