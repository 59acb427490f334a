import os

os.environ["HF_HUB_OFFLINE"] = "1"
# Models in tests are tiny: a second thread costs more than it brings, above all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

# How long an example takes says something of the machine, not of what is tested.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def emptied():
    """Empty a registry for the test; what was in it comes back in its order."""
    saved = []

    def empty(registry):
        saved.append((registry, dict(registry)))
        registry.clear()

    yield empty
    for registry, entries in saved:
        registry.clear()
        registry.update(entries)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Give the folder of a tiny model (see `tiny_models.MAKERS`) by name; it must not be changed."""
    import tiny_models

    made = {}

    def folder(name):
        if name not in made:
            made[name] = tiny_models.save_tiny(name, tmp_path_factory.mktemp("models") / name)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def tiny_outline(tiny_folder):
    """Give the outline of a tiny model by name."""
    from emoscale.models.options import ModelOptions
    from emoscale.models.outline import outline_model

    made = {}

    def outline(name):
        if name not in made:
            made[name] = outline_model(ModelOptions(str(tiny_folder(name))))
        return made[name]

    return outline


@pytest.fixture(scope="session")
def tiny_model(tiny_outline):
    """Give a tiny model, loaded, by name; it must be left as it is."""
    from emoscale.models.loading import load_model

    made = {}

    def model(name):
        if name not in made:
            made[name] = load_model(tiny_outline(name))
        return made[name]

    return model
