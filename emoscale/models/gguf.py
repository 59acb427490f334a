"""Models in GGUF files: converted once, and kept in the user's cache as a folder like any other model's."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import platformdirs
import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, GgufConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from emoscale.errors import InputError, first_lines
from emoscale.system.files import lock_if_possible, naming, remove, sha256

_FORMAT = 1
"""Of the converted folders; another number makes them again."""

_LIST = "converted.json"
"""Name of the file in a converted folder that gives the SHA-256 of the others. It is written last."""

_MAGIC = b"GGUF"
_PROBES = ("hello", " Hello world!\n\n", "naïve 愛 12345 <s></s>", "")


def cache_folder() -> Path:
    """Return the folder where emoscale keeps what can be made again."""
    return platformdirs.user_cache_path("emoscale")


def convert_gguf(name: str, file: Path) -> tuple[Path, str]:
    """Return the folder of a GGUF file's model in the form of `save_pretrained`, weights in float32.

    It is in the cache under the file's SHA-256 and the versions of what converts it. The first use makes it; a damaged
    one is made again. Of several processes, one converts while the others wait.

    Parameters
    ----------
    name : str
        What the user calls the model.
    file : Path

    Returns
    -------
    folder : Path
    sha256 : str
        Of the GGUF file.

    Raises
    ------
    InputError
        If there is no such file, it is not a complete GGUF file, transformers cannot convert it, the package ``gguf``
        is missing, or the cache cannot be written.
    """
    digest = _digest(name, file)
    if importlib.util.find_spec("gguf") is None:
        raise InputError(f"model.name {name!r}: GGUF files need the package gguf; pip install gguf")
    maker = f"transformers{transformers.__version__}-gguf{version('gguf')}-{_FORMAT}"
    folder = cache_folder() / "gguf" / f"{digest}-{maker}"
    try:
        if not _is_whole(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _alone(folder):
                if not _is_whole(folder):  # another process may have made it in the meantime
                    _make(name, file, folder)
    except OSError as error:
        raise InputError(
            f"model.name {name!r}: the cache of converted models, {folder.parent}, cannot be written "
            f"({error.strerror or first_lines(error)}); set XDG_CACHE_HOME to a folder with space"
        ) from error
    return folder, digest


def _digest(name: str, file: Path) -> str:
    try:
        with file.open("rb") as stream:
            is_gguf = stream.read(len(_MAGIC)) == _MAGIC
        digest = sha256(file)
    except FileNotFoundError as error:
        raise InputError(f"model.name {name!r}: no such file as {file}; correct the name") from error
    except OSError as error:
        raise InputError(f"model.name {name!r}: {file} cannot be read ({error.strerror}); check it") from error
    if not is_gguf:
        raise InputError(f"model.name {name!r}: {file} is not a GGUF file; fetch it again, or set another")
    return digest


def _is_whole(folder: Path) -> bool:
    try:
        files = json.loads((folder / _LIST).read_text(encoding="utf-8"))
        return all(sha256(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from making the same folder, and clean up after those that were killed while they did."""
    with folder.with_name(f"{folder.name}.lock").open("w", encoding="ascii") as lock:
        if lock_if_possible(lock):  # without such locks each process makes one, and the first counts
            with suppress(OSError):
                for left in folder.parent.glob(f".{folder.name}.*"):
                    remove(left)
        yield


def _make(name: str, file: Path, folder: Path) -> None:
    print(f"emoscale: converting {file}, once; a small model takes 10 to 20 s", file=sys.stderr, flush=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with naming(unfinished), redirect_stderr(StringIO()):  # progress bars that nothing else turns off
            module, tokenizer = _read(name, file, unfinished)
            module.save_pretrained(unfinished)
            tokenizer.save_pretrained(unfinished)
        _check_tokenizer(name, file, tokenizer, unfinished)
        files = {made.name: sha256(made) for made in sorted(unfinished.iterdir())}
        (unfinished / _LIST).write_text(json.dumps(files), encoding="utf-8")
        unfinished.chmod(0o755)
        remove(folder)
        with suppress(OSError):  # somebody else's is there
            os.replace(unfinished, folder)
        if not _is_whole(folder):
            raise InputError(f"model.name {name!r}: {folder} was damaged while it was written; try again")
    finally:
        remove(unfinished)


def _read(name: str, file: Path, empty: Path) -> tuple[Any, Any]:
    """Return the model in float32, and its tokenizer."""
    is_scaled = _scales_positions(_open(name, file))
    # In a folder of its own: transformers also reads configurations that lie beside the file.
    link = empty / "model.gguf"
    link.symlink_to(file.resolve())
    source: dict[str, Any] = {"gguf_file": link.name, "local_files_only": True}
    try:
        config = AutoConfig.from_pretrained(empty, **source)
        tokenizer = AutoTokenizer.from_pretrained(empty, **source)
        module, report = _loader(config).from_pretrained(
            empty,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
            **source,
        )
    except Exception as error:  # for what it does not know it raises many kinds
        raise InputError(
            f"model.name {name!r}: transformers cannot convert {file} ({first_lines(error)}); set this model's folder "
            "with safetensors, or another model"
        ) from error
    if is_scaled and not _has_scaled_positions(config):
        raise InputError(
            f"model.name {name!r}: {file} scales its rotary positions, which transformers does not read from it; set "
            "this model's folder with safetensors"
        )
    if missing := sorted(report["missing_keys"]):
        raise InputError(
            f"model.name {name!r}: {len(missing)} weights are not in {file}, the first is {missing[0]}; set another"
        )
    link.unlink()
    # Its values are plain now, but transformers would refuse to save them.
    module.hf_quantizer = None
    if hasattr(module.config, "quantization_config"):
        del module.config.quantization_config
    return module, tokenizer


def _open(name: str, file: Path) -> Any:
    from gguf import GGUFReader

    try:
        return GGUFReader(file)
    except Exception as error:  # NumPy's, of a view that ends beyond the file
        raise InputError(
            f"model.name {name!r}: {file} is damaged or cut short ({first_lines(error)}); fetch it again"
        ) from error


def _scales_positions(reader: Any) -> bool:
    kinds = [field.contents() for key, field in reader.fields.items() if key.endswith(".rope.scaling.type")]
    has_factors = any(tensor.name.startswith(("rope_freqs", "rope_factors")) for tensor in reader.tensors)
    return has_factors or any(kind != "none" for kind in kinds)


def _has_scaled_positions(config: Any) -> bool:
    rope = getattr(config, "rope_parameters", None) or {}
    parts = [rope, *(part for part in rope.values() if isinstance(part, dict))]  # some have one for each kind of layer
    return any(part.get("rope_type", "default") != "default" for part in parts)


def _loader(config: Any) -> Any:
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModel


def _check_tokenizer(name: str, file: Path, tokenizer: Any, folder: Path) -> None:
    try:
        saved = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        is_same = all(saved(probe)["input_ids"] == tokenizer(probe)["input_ids"] for probe in _PROBES)
    except Exception:  # as many kinds as above
        is_same = False
    if not is_same:
        raise InputError(
            f"model.name {name!r}: the tokenizer in {file} cannot be saved without a change; set this model's folder "
            "with safetensors"
        )
