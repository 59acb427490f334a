import shutil

import numpy as np
import pytest

from emoscale.errors import InputError
from emoscale.schema import ACTIVATIONS, MASKS, MOMENTS, SELECTIVITY
from emoscale.store import create_store, open_store


@pytest.mark.parametrize("schema", [ACTIVATIONS, MOMENTS, MASKS, SELECTIVITY], ids=lambda schema: schema.kind)
def test_a_store_describes_itself(tmp_path, schema):
    lengths = {dim: 3 for array in schema.arrays for dim in array.dims}
    coordinates = {
        array.name: np.array(["a", "b", "c"]) if array.dtype == "str" else np.arange(3) for array in schema.coordinates
    }
    create_store(tmp_path / "x.zarr", schema, coordinates, {}, sizes=lengths)
    assert open_store(tmp_path / "x.zarr").schema == schema
    shutil.rmtree(tmp_path / "x.zarr" / schema.data[0].name)
    with pytest.raises(InputError, match=f"lacks {schema.data[0].name}"):
        open_store(tmp_path / "x.zarr")
