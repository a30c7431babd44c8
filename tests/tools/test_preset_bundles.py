import torch

from exporter.samples import Feed, random_feed
from tools.preset_bundles import settle
from trainkit.checkpoint import build_empty
from trainkit.config import load
from trainkit.models import LandCoverModel
from trainkit.torch_model import TorchModel


def most_of(model: LandCoverModel, feed: Feed) -> float:
    """Largest number that the deepest map of the aerial image holds."""
    return float(TorchModel(model).run(feed)["aerial_high"].max())


def test_maps_of_random_weights_no_longer_vanish() -> None:
    torch.manual_seed(0)
    model = build_empty(load("difd-tiny"))
    feed = random_feed(model.parts(), batch=2, seed=0)
    momenta = [getattr(module, "momentum", None) for module in model.modules()]
    before = most_of(model, feed)
    settle(model, feed)
    assert before < 0.5 < 2.0 < most_of(model, feed)
    assert [getattr(module, "momentum", None) for module in model.modules()] == momenta
    assert not model.training
