# docker build -t cyborg-data . && docker run --rm -v "$PWD/results:/cyborg/results" -v cyborg-build:/cyborg/build cyborg-data reproduce
FROM python:3.12-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /cyborg
# the environment first: a change of the code does not install it again
COPY Makefile requirements.lock pyproject.toml README.md LICENSE ./
COPY tools tools
COPY params params
COPY cyborg_utils cyborg_utils
RUN make .venv/.ready PIP_OPTIONS="--no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu"
COPY . .
# what COPY brought is newer than the environment, but the same
RUN touch .venv/.ready
ENTRYPOINT ["make"]
CMD ["reproduce"]
