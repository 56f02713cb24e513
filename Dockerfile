# The image of the job: the command `litellm-lago` and what locks/run.txt names, from PyPI alone.
#
#   docker build -t litellm-lago-reconcile:0.1.0 .
#
# The base is pinned by its exact tag. A tag can be moved: where your policy asks for a digest, append it in both stages.
FROM python:3.13.14-slim-trixie AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# Wheels only: nothing is compiled, here or later. The job's environment gets no pip of its own.
COPY locks/build.txt locks/run.txt locks/
RUN pip install --require-hashes --only-binary=:all: -r locks/build.txt \
    && python -m venv --without-pip /opt/litellm-lago \
    && pip --python /opt/litellm-lago/bin/python install --require-hashes --only-binary=:all: -r locks/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY jobs jobs
COPY sql sql
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/litellm-lago/bin/python install --no-deps --no-index dist/*.whl
# What nobody runs: the packages' own tests, and what only compilers and type checkers read. Compiled modules stay, since the root is
# read-only and each start would compile them again.
RUN find /opt/litellm-lago -depth -type d \( -name tests -o -name test \) -exec rm -rf {} + \
    && find /opt/litellm-lago -type f \( -name '*.a' -o -name '*.h' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.pyi' \) -delete

FROM python:3.13.14-slim-trixie
LABEL org.opencontainers.image.title="litellm-lago-reconcile" \
    org.opencontainers.image.description="Reconciles LiteLLM's spend logs with the usage events Lago bills"
# A number, so that Kubernetes can see that it is not root. It owns nothing but the folder that a volume is mounted over.
RUN groupadd --gid 10001 litellm-lago \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin litellm-lago \
    && install --directory --owner=10001 --group=10001 /runs \
    && find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
COPY --from=build /opt/litellm-lago /opt/litellm-lago
# The root file system is meant to be read-only: only /tmp and /runs are written to.
ENV PATH=/opt/litellm-lago/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 RECONCILE_OUTPUT=/runs
USER 10001:10001
WORKDIR /
ENTRYPOINT ["litellm-lago"]
CMD ["--help"]
