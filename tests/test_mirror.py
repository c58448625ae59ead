"""The flip test: mirroring twice is nothing, and the mean treats left and right alike."""

import torch

from xnect.mirror import FLIP_LIMBS, flip_tested, mirrored
from xnect.network import Maps, build_network
from xnect.skeleton import FLIP2D, J2D, J3D, LIMBS


def random_maps():
    torch.manual_seed(1)
    sizes = ((18,), (19, 2), (63,), (18, 2), (5,))
    return Maps(*(torch.randn(2, *size, 5, 7) for size in sizes))


def test_mirroring_twice_is_nothing():
    maps = random_maps()
    for there, here in zip(mirrored(mirrored(maps)), maps, strict=True):
        assert torch.equal(there, here)


def test_what_lies_left_comes_to_lie_right():
    maps = random_maps()
    back = mirrored(maps)
    left, right = J2D["left_knee"], J2D["right_knee"]
    assert torch.equal(back.heatmaps[:, left, :, 0], maps.heatmaps[:, right, :, 6])
    thigh = LIMBS.index((J2D["left_hip"], left))
    other = LIMBS.index((J2D["right_hip"], right))
    assert FLIP_LIMBS[thigh] == other
    assert torch.equal(back.affinities[:, thigh, 0, :, 2], -maps.affinities[:, other, 0, :, 4])
    assert torch.equal(back.affinities[:, thigh, 1, :, 2], maps.affinities[:, other, 1, :, 4])
    assert torch.equal(back.offsets[:, left, 0, :, 2], -maps.offsets[:, right, 0, :, 4])
    x, y, z = (21 * i + J3D["left_knee"] for i in range(3))
    other_x, other_y, other_z = (21 * i + J3D["right_knee"] for i in range(3))
    assert torch.equal(back.codes[:, x, :, 1], -maps.codes[:, other_x, :, 5])
    assert torch.equal(back.codes[:, y, :, 1], maps.codes[:, other_y, :, 5])
    assert torch.equal(back.codes[:, z, :, 1], maps.codes[:, other_z, :, 5])
    assert torch.equal(back.boxes[:, 1, :, 2], maps.boxes[:, 3, :, 4])  # left side, right side
    assert torch.equal(back.boxes[:, [0, 2, 4]], maps.boxes[:, [0, 2, 4]].flip(-1))
    assert sorted(FLIP_LIMBS) == list(range(19))
    assert all(FLIP2D[FLIP2D[j]] == j for j in range(18))


@torch.no_grad()
def test_the_mean_of_a_mirrored_picture_is_the_mirrored_mean():
    torch.manual_seed(3)
    network = build_network("s").eval()
    images = torch.randn(1, 3, 48, 64)
    mean = flip_tested(network, images)
    there = mirrored(flip_tested(network, images.flip(-1)))
    for a, b in zip(mean, there, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    plain = network(images)
    assert not torch.allclose(mean.codes, plain.codes, atol=1e-3)
