from hypothesis import given, settings
from hypothesis import strategies as st

from emoscale.store import CommitLog


def test_ranks_are_merged(tmp_path):
    folder = tmp_path / "x.commits"
    assert CommitLog(folder).done() == {}
    logs = [CommitLog(folder, rank) for rank in range(3)]
    for block in range(12):
        logs[block % 3].add(block, absent=2 * block)
    assert CommitLog(folder, 7).done() == {block: 2 * block for block in range(12)}
    assert sorted(file.name for file in folder.iterdir()) == ["rank-0.log", "rank-1.log", "rank-2.log"]


def test_a_block_twice_is_one_block(tmp_path):
    log = CommitLog(tmp_path)
    log.add(4)
    log.add(4)
    assert log.done() == {4: 0}


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=5), st.data())
@settings(max_examples=40)
def test_a_torn_last_line_does_not_count(tmp_path_factory, blocks, data):
    """A file cut anywhere contains the blocks whose lines are complete, and a later writer's lines stay apart."""
    folder = tmp_path_factory.mktemp("torn")
    log = CommitLog(folder)
    ends = []
    file = folder / "rank-0.log"
    for block in blocks:
        log.add(block)
        ends.append(file.stat().st_size)
    cut = data.draw(st.integers(0, ends[-1]))
    file.write_bytes(file.read_bytes()[:cut])
    complete = {block for block, end in zip(blocks, ends, strict=True) if end <= cut}
    assert log.done().keys() == complete
    log.add(10**7)
    # A line that lacks only its line feed is complete, too.
    assert {10**7} | complete <= log.done().keys() <= {10**7} | set(blocks)
    assert len(log.done().keys() - complete) <= 2


def test_a_flipped_bit_makes_no_other_block_done(tmp_path):
    log, file = CommitLog(tmp_path), tmp_path / "rank-0.log"
    for block in (1, 23):
        log.add(block, absent=45)
    content = file.read_bytes()
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        assert log.done().items() <= {1: 45, 23: 45}.items()
        assert len(log.done()) >= 1
