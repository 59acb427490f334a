"""A top-level folder called kernels must not be taken for the optional library of that name in transformers."""

import subprocess
import sys
from pathlib import Path

from emoscale import __version__

ROOT = Path(__file__).parents[1]


def python(*arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_starts_from_the_repository_root():
    assert (ROOT / "kernels").is_dir()
    assert python("-m", "emoscale", "--version").strip() == __version__


def test_kernels_and_a_transformers_model_live_together():
    code = (
        "import emoscale_kernels\n"
        "from transformers import BertConfig, BertModel\n"
        "size = dict(vocab_size=9, hidden_size=4, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)\n"
        "print(emoscale_kernels.__name__, BertModel(BertConfig(**size)).num_parameters() > 0)\n"
    )
    assert python("-c", code).split() == ["emoscale_kernels", "True"]
