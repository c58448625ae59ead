"""Labels whose left and right a refiner sees exchanged."""

import numpy as np
import pytest
import torch
from test_lifted_labels import STANDING

from xnect.errors import BadInput
from xnect.model import bundled
from xnect.network import STRIDE
from xnect.refiner import SIDE_PX, PersonMaps
from xnect.skeleton import FACE, FLIP2D
from xnect.train.crops import PersonCrops, read_person_crops, write_crops
from xnect.train.exchanged_sides import exchange, main, other_sides
from xnect.train.refiner_figures import in_input
from xnect.train.samples import SEEN, UNKNOWN

CELLS = SIDE_PX // STRIDE
STOOD = ((STANDING - 120) * 0.6 + 120).astype(np.float32)  # whole in the input


class Sure(torch.nn.Module):
    """Sees the joints of `STOOD`, also in the mirror, with a probability of 0.9."""

    def __init__(self):
        super().__init__()
        self.place = torch.nn.Parameter(torch.zeros(()))

    def forward(self, images):
        joints = in_input(STOOD)
        mirrored = np.stack([SIDE_PX - 1 - joints[:, 0], joints[:, 1]], 1)[list(FLIP2D)]
        logits = torch.full((len(images), 18, CELLS, CELLS), -4.0)
        for n in range(len(images)):
            shown = joints if n < len(images) / 2 else mirrored
            x, y = np.rint((shown - (STRIDE - 1) / 2) / STRIDE).astype(int).T
            logits[n, np.arange(18), y, x] = 2.2
        empty = torch.zeros(len(images), 36, CELLS, CELLS)
        return PersonMaps(logits, empty.unflatten(1, (18, 2)), torch.zeros(len(images), 63, 20, 20))


@pytest.fixture
def people(tmp_path):
    """As seen; limbs exchanged; limbs exchanged but hardly labelled."""
    limbs = [FLIP2D[j] if j not in FACE else j for j in range(18)]
    joints = np.stack([STOOD, STOOD[limbs], STOOD[limbs]])
    state = np.full((3, 18), SEEN, np.int8)
    state[2, 3:] = UNKNOWN
    state[1, 4] = UNKNOWN  # a wrist
    crops = PersonCrops(
        np.zeros((3, 240, 240, 3), np.uint8), joints, state,
        np.zeros((3, 21, 3), np.float32), np.full((3, 21), 0.5, np.float32),
    )  # fmt: skip
    write_crops(tmp_path / "lspet", crops)
    return tmp_path / "lspet"


def test_the_other_sides_are_likelier_where_labels_are_exchanged(people):
    value = other_sides(Sure(), read_person_crops(people))
    assert value[0] < -3 and value[1] > 3 and np.isnan(value[2])
    np.testing.assert_allclose(value[0], -value[1], rtol=0.2)


def test_limbs_are_exchanged_with_their_states_and_faces_stay(people):
    before = read_person_crops(people)
    assert exchange(people, Sure()) == 1
    after = read_person_crops(people)
    np.testing.assert_array_equal(after.joints_px[1], STOOD)
    assert (after.state[1, 7], after.state[1, 4]) == (UNKNOWN, SEEN)
    assert not after.joints3d_weight[1].any()
    for name in ("joints_px", "state", "joints3d_weight"):
        rest = [0, 2]
        np.testing.assert_array_equal(getattr(after, name)[rest], getattr(before, name)[rest])
    assert exchange(people, Sure()) == 0  # nothing twice


def test_open_cut_outs_do_not_learn_from_a_research_refiner(people, capsys):
    for path, refiner, words in (
        (people.with_name("coco"), bundled("refiner", "research"), "research"),
        (people.with_name("none"), bundled("refiner", "open"), "none.npy"),
    ):
        assert main([str(path), "--refiner", str(refiner)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and words in error and error.count("\n") == 1
    with pytest.raises(BadInput):
        exchange(people.with_name("none"), Sure())
