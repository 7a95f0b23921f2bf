from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from locallearn.errors import InputError
from locallearn.tasks.multi_scale import MultiScale

torch.set_num_threads(1)


class ByColumn(nn.Module):
    """Two classes: the logit of the first is a quarter of the columns in the left half, 0 in the right."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        logits = torch.zeros(len(images), 2, *images.shape[2:], dtype=images.dtype)
        width = images.shape[3]
        logits[:, 0, :, : width // 2] = width / 4
        return {"out": logits}


def sigmoid(value: float) -> float:
    return float(torch.sigmoid(torch.tensor(value, dtype=torch.float64)))


def test_scales_and_mirrors_are_averaged_as_probabilities() -> None:
    images = torch.zeros(1, 3, 2, 8, dtype=torch.float64)
    found = MultiScale(ByColumn(), scales=(1.0, 2.0))(images)
    # Far from the middle resizing changes nothing: logits are 2 at scale 1 and 4 at scale 2 in the left half only.
    mean = (sigmoid(2) + 0.5 + sigmoid(4) + 0.5) / 4
    edges = found.softmax(1)[0, 0, :, [0, 1, 6, 7]]
    torch.testing.assert_close(edges, torch.full_like(edges, mean))
    torch.testing.assert_close(found.exp().sum(1), torch.ones(1, 2, 8, dtype=torch.float64))
    left = MultiScale(ByColumn(), scales=(1.0, 2.0), flip=False)(images).softmax(1)
    assert left[0, 0, 0, 0].item() == pytest.approx((sigmoid(2) + sigmoid(4)) / 2)
    assert left[0, 0, 0, 7].item() == 0.5


def test_one_scale_is_the_network_itself() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3, padding=1)
    images = torch.randn(2, 3, 5, 7)
    found = MultiScale(network, scales=(1,), flip=False)(images)
    torch.testing.assert_close(found, network(images).log_softmax(1))


def test_every_size_comes_back_and_certain_predictions_stay_finite() -> None:
    network = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        network.bias[0] = 1e4
    found = MultiScale(network)(torch.rand(1, 3, 9, 11))
    assert found.shape == (1, 4, 9, 11) and found.isfinite().all() and (found.argmax(1) == 0).all()


def test_it_shares_the_network_and_its_mode() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout()).eval()
    wrapped = MultiScale(network)
    assert wrapped.network is network and not wrapped.training


@pytest.mark.parametrize("scales", [(), (1.0, 0.0)])
def test_impossible_scales_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="at least one positive factor"):
        MultiScale(nn.Identity(), scales)
