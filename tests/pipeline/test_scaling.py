"""What binds an extraction on many ranks, against a simulation of ranks that share a disk."""

import heapq
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoscale.commands.scaling import COMPUTE, DISK, LINK, Extraction, Rates, scale
from emoscale.extraction.cutting import Cut
from emoscale.system.ranks import Ranks

AHEAD = 2
"""Blocks that a rank computes before it waits for the first of them to be written."""


def work(rows, block_rows, **changes):
    cut = Cut(block_rows, 1024, block_rows, 1024)
    given = {"seconds_a_row": None, "operations": 2e9 * rows, "copied": 100.0 * rows, "written": 50.0 * rows} | changes
    return Extraction(rows, lambda ranks: cut.busiest_rows(rows, cut.blocks(rows), ranks), **given)


def simulated(one, rates, block_rows, ranks):
    """Seconds until the last block is written: each rank computes its own, and the disk takes one after the other."""
    blocks = [min(block_rows, one.rows - start) for start in range(0, one.rows, block_rows)]
    own = [Ranks(rank, ranks, torch.device("cpu")).own(blocks) for rank in range(ranks)]
    waiting = [(sizes[0] * one.operations / one.rows / rates.rank, rank, 0) for rank, sizes in enumerate(own) if sizes]
    heapq.heapify(waiting)
    disk, written = 0.0, [[] for _ in own]
    while waiting:
        computed, rank, number = heapq.heappop(waiting)
        disk = max(disk, computed) + own[rank][number] * one.written / one.rows / rates.disk
        written[rank].append(disk)
        if number + 1 < len(own[rank]):
            free = written[rank][number + 1 - AHEAD] if number + 1 >= AHEAD else 0.0
            seconds = own[rank][number + 1] * one.operations / one.rows / rates.rank
            heapq.heappush(waiting, (max(computed, free) + seconds, rank, number + 1))
    return disk


@given(
    ranks=st.sampled_from([1, 2, 7, 8, 64]),
    blocks=st.integers(20, 60),
    disk=st.floats(1e2, 1e6),
    part=st.integers(1, 100),
)
def test_it_takes_what_a_simulation_takes(ranks, blocks, disk, part):
    block_rows = 100
    one = work((blocks * ranks - 1) * block_rows + part, block_rows)
    rates = Rates(rank=2e11, disk=disk)
    told = scale(one, rates, ranks)[-1]
    found = simulated(one, rates, block_rows, ranks)
    # The first block is computed before any is written; the last of every rank are written after all are computed.
    edges = block_rows * one.operations / one.rows / rates.rank + ranks * block_rows * one.written / one.rows / disk
    assert told.total <= found * (1 + 1e-9)
    assert found <= told.total + 2 * edges


def test_what_binds_changes_with_the_ranks():
    rates = Rates(rank=2e12, link=1e6, disk=4e5)
    found = scale(work(100_000, 10), rates, 512)
    assert [one.ranks for one in found] == [1, 8, 64, 512]
    assert [one.binds for one in found] == [COMPUTE, COMPUTE, DISK, DISK]
    assert found[0].seconds == {COMPUTE: 100.0, LINK: 10.0, DISK: 12.5}
    assert found[-1].binds == DISK
    assert found[-1].total == 12.5


def test_more_ranks_than_blocks_do_not_help():
    found = scale(work(30, 10), Rates(rank=2e9), 8)
    assert [one.total for one in found] == [30.0, 10.0]


def test_a_measured_rate_stands_in_for_operations():
    one = work(1000, 10, seconds_a_row=0.5)
    assert scale(one, Rates(disk=1e9), 1)[0].seconds[COMPUTE] == 500.0
    assert scale(one, Rates(rank=2e9), 1)[0].seconds[COMPUTE] == 1000.0


def test_nothing_is_told_without_rates():
    assert scale(work(10, 10), Rates(), 8) == []


def test_the_command_shows_and_writes_it(cli, world, tmp_path):
    file = tmp_path / "plan.json"
    options = ["--probe", 0, "--ranks", 16, "--tflops", 0.001, "--disk", 0.001, "--link", 1, "--json", file]
    answer = cli("plan", world.config, *options)
    assert answer.code == 0, answer.err
    assert "what binds" in answer.out
    assert [line["ranks"] for line in json.loads(file.read_text())["scaling"]] == [1, 8, 16]


@pytest.mark.parametrize("option", ["--tflops", "--disk", "--link"])
def test_rates_are_above_zero(cli, world, option):
    answer = cli("plan", world.config, "--probe", 0, option, 0)
    assert answer.code == 2
    assert option in answer.err
