"""What tests of methods share."""

from __future__ import annotations

import pytest
from torch import nn

from methods.auglocal_cases import resnet110


@pytest.fixture
def without_initial_values(monkeypatch):
    """Drawing numbers is most of the time of building heads whose form or cost alone is asked for."""
    resnet110()
    monkeypatch.setattr(nn.init, "normal_", lambda tensor, *_, **__: tensor)
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda tensor, *_, **__: tensor)
