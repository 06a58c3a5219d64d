# The whole study from the lock (5.7 GB; the statistics alone: .binder/ and .devcontainer/).
#   docker build -t dlrs . && docker run --rm -v "$PWD/runs:/dlrs/runs" dlrs reproduce
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /dlrs
# The packages first: their layer is built again for another lock only, not for another line of code.
COPY pyproject.toml uv.lock README.md run.py ./
RUN mkdir -p src/dlrs src/dlrs_site src/dlrs_run && touch src/dlrs/__init__.py src/dlrs_site/__init__.py src/dlrs_run/__init__.py \
 && UV_NO_CACHE=1 python3 -c "import run; run.set_up('io', 'imaging')"
COPY . .
ENTRYPOINT ["python3", "run.py"]
CMD ["reproduce"]
