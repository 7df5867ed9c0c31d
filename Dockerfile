# syntax=docker/dockerfile:1
# The service without the demo and the tools. Runs without a GPU; with one (`docker run --gpus all`) the encoder
# and the search use it: torch and FAISS bring their CUDA libraries along as wheels.

FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/anacrusis
ENV PATH=/opt/anacrusis/bin:$PATH
# The dependencies first: this layer is kept as long as they stay the same.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print('\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']))" > requirements.txt \
    && pip install --constraint constraints.txt --no-cache-dir --requirement requirements.txt
COPY . .
RUN pip install --constraint constraints.txt --no-cache-dir --no-deps .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home anacrusis \
    && install --directory --owner anacrusis /var/lib/anacrusis
COPY --from=build /opt/anacrusis /opt/anacrusis
# It listens on all addresses of the container, so that `serve` refuses to start until it gets TLS and knows its callers, or
# is told twice that it needs neither: see "Container" in README.md.
ENV PATH=/opt/anacrusis/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ANACRUSIS_HOME=/var/lib/anacrusis \
    ANACRUSIS_SERVER__HOST=0.0.0.0 \
    ANACRUSIS_SERVER__PORT=50051
USER anacrusis
VOLUME /var/lib/anacrusis
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-m", "grpc_service.probe", "127.0.0.1:50051"]
ENTRYPOINT ["anacrusis"]
CMD ["serve"]
