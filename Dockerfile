# A service of the run folder that is mounted at /run:
#   docker build --tag mvcn .
#   docker run --publish 127.0.0.1:8000:8000 --volume "$PWD/runs/mine:/run:ro" mvcn
# The run needs the graphs that `mvcn train` writes: there is no PyTorch in the image.
FROM python:3.13-slim

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt '.[serve]'

USER 65534:65534
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/ready')"]
ENTRYPOINT ["mvcn", "serve", "/run", "--host", "0.0.0.0"]
