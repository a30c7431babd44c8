"""A user's own module, of aerial images alone or with a Sentinel-2 series.

A factory, a function of the user's own code, makes the module and says what it takes, as a
`DeclaredModel`. Around it lie the normalisation of the aerial image and the masking of months
without a date, so that its parts take and give what every model's parts do:

    aerial uint8 (N,C,H,W) - normalised ------------- aerial ----- features --+
    satellite (N,T,B,h,w), masked months set to 0 --- satellite -- features --+- fusion - logits
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from runtime.errors import CheckpointError, ConfigError, brief

from ..config import InputConfig, TrainConfig
from ..factory_config import FactoryConfig
from .aerial import AerialInput
from .declared import Branch, DeclaredModel, call_factory
from .joint import UNIT, Features
from .landcover import AERIAL_INPUTS, SATELLITE_INPUTS, LandCoverModel, Part, PartTensor

# Shape letters: N batch, C aerial channels, H W aerial pixels, T dates, B Sentinel-2 bands,
# h w Sentinel-2 cells, K classes.


def refuse_unnamed(config: TrainConfig, own: FactoryConfig) -> LandCoverModel:
    """Refuse to run code that a file names.

    Raises:
        ConfigError: Always, saying how the user names it.
    """
    raise ConfigError(
        f"{config.name} is a module that {own.factory} makes, and no file runs code by itself; "
        f"expected you to name it; add --factory {own.factory}"
    )


def build_named(config: TrainConfig, factory: str) -> "FactoryModel":
    """Build the model of a checkpoint whose factory the user named.

    Raises:
        CheckpointError: If the checkpoint has no factory, or another one.
        ConfigError: If the factory fails, or declares something else than the checkpoint holds.
    """
    if not isinstance(config.joint, FactoryConfig) or config.joint.factory != factory:
        found = config.joint.factory if isinstance(config.joint, FactoryConfig) else "none"
        raise CheckpointError(
            f"{config.name} has the factory {found}; expected {factory}, which --factory names; "
            + ("leave it out" if found == "none" else f"give --factory {found} if you trust it")
        )
    declared = call_factory(factory)
    now = declared.config(factory)
    for name in ("name", "num_classes", "input", "dates", "joint"):
        if getattr(now, name) != getattr(config, name):
            raise ConfigError(
                f"{factory} declares another {name} than the checkpoint of {config.name} holds; "
                "expected the same; restore the code, or import the weights again"
            )
    return FactoryModel(config, declared)


class FactoryModel(LandCoverModel):
    """A declared model.

    Args:
        config: What `DeclaredModel.config` gives.
        declared: The module and its parts.

    Raises:
        ConfigError: If a part cannot be run, or gives something else than it must.
    """

    def __init__(self, config: TrainConfig, declared: DeclaredModel) -> None:
        super().__init__(config)
        self.network = declared.module
        self.input = TileInput(config.input)
        self.declared = declared
        self.eval()
        self.aerial_features, self.satellite_features = self._try()

    @property
    def branch_names(self) -> tuple[str, ...]:
        """The parts before the fusion."""
        return ("aerial",) if self.declared.satellite is None else ("aerial", "satellite")

    @property
    def units(self) -> tuple[str, ...]:
        """The model as one."""
        return (UNIT,)

    def unit(self, name: str) -> nn.Module:
        """Give the model itself."""
        return self

    def forward(self, feed: Mapping[str, Tensor]) -> Tensor:
        """Give logits on the tile's grid, shape (N, K, H, W)."""
        aerial, *others, fusion, _ = self.parts()
        given = [_several(aerial.module(*(feed[name] for name in AERIAL_INPUTS)))]
        given += [_several(p.module(*(feed[name] for name in SATELLITE_INPUTS))) for p in others]
        logits: Tensor = fusion.module.get_submodule("fusion")(*sum(given, ()))
        return logits

    def own_logits(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give nothing: no branch is known to have a map of its own."""
        return {}

    def parts(self) -> tuple[Part, ...]:
        """The pieces to export, in order of execution; the last one is a variant of the fusion."""
        branches = [
            Part(
                name="aerial",
                role="aerial",
                module=AerialCall(self.network, self.declared.aerial, self.input),
                inputs=self.aerial_inputs(),
                outputs=self.aerial_features,
            )
        ]
        if self.declared.satellite is not None:
            branches.append(
                Part(
                    name="satellite",
                    role="satellite",
                    module=SatelliteCall(self.network, self.declared.satellite),
                    inputs=self.satellite_inputs(),
                    outputs=self.satellite_features,
                )
            )
        fusion = Call(self.network, self.declared.fusion)
        given = tuple(spec for part in branches for spec in part.outputs)
        return (*branches, *self.fusion_parts(fusion.eval(), given))

    def _try(self) -> tuple[tuple[PartTensor, ...], tuple[PartTensor, ...]]:
        """Run every part on one tile, to learn what the branches give."""
        self.aerial_features = self.satellite_features = ()
        specs: dict[str, tuple[PartTensor, ...]] = {"aerial": (), "satellite": ()}
        given: Features = ()
        for part in self.parts()[: len(self.branch_names)]:
            found = self._run(part.role, part.module, tuple(part.example(batch=1).values()))
            specs[part.name] = _specs(part.name, found)
            given += found
        logits = self._run("fusion", Call(self.network, self.declared.fusion), given)
        side = self.config.input.tile_size
        wanted = [(1, self.config.num_classes, side, side)]
        if [tuple(item.shape) for item in logits] != wanted:
            raise ConfigError(
                f"the part fusion of {self.config.name} gives "
                f"{[tuple(item.shape) for item in logits]}; expected logits of shape {wanted[0]}: "
                "every class at every pixel of the tile; enlarge them there"
            )
        return specs["aerial"], specs["satellite"]

    @torch.no_grad()
    def _run(self, name: str, module: nn.Module, given: tuple[Tensor, ...]) -> Features:
        device = self.device
        try:
            found = _several(module(*(item.to(device) for item in given)))
        except Exception as error:  # the user's code can raise anything
            raise ConfigError(
                f"the part {name} of {self.config.name} failed on "
                f"{', '.join(str(tuple(item.shape)) for item in given)} with "
                f"{type(error).__name__} ({brief(error)}); correct the module or its declaration"
            ) from error
        if not found or any(
            not isinstance(item, Tensor) or item.dtype != torch.float32 or len(item) != 1
            for item in found
        ):
            raise ConfigError(
                f"the part {name} of {self.config.name} gives "
                f"{', '.join(_described(item) for item in found) or 'nothing'}; expected float32 "
                "tensors whose first dimension is the batch of 1; correct the part"
            )
        return found


class TileInput(AerialInput):
    """The way in, for the one size of tile that the module was declared for.

    Args:
        inputs: Bands, their statistics and the tile size.
    """

    def __init__(self, inputs: InputConfig) -> None:
        super().__init__(inputs)
        self.fixed_size = inputs.tile_size

    def forward(self, aerial: Tensor) -> Tensor:
        """Give a normalised image, float32 (N, C, H, W), from uint8."""
        return self._normalise(aerial)


class Call(nn.Module):
    """A function over the weights of a module, as a module.

    Args:
        network: The module whose weights it uses.
        function: What is called.
    """

    def __init__(self, network: nn.Module, function: Branch) -> None:
        super().__init__()
        self.network = network
        # In a tuple, as a function that is a module would be held twice.
        self.called = (function,)

    def forward(self, *given: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Call it; a list counts as a tuple."""
        found = self.called[0](*given)
        return tuple(found) if isinstance(found, list) else found


class AerialCall(nn.Module):
    """An aerial part with its normalisation.

    Args:
        network: The module whose weights it uses.
        function: What is called.
        tile: The way in.
    """

    def __init__(self, network: nn.Module, function: Branch, tile: TileInput) -> None:
        super().__init__()
        self.tile = tile
        self.call = Call(network, function)

    def forward(self, aerial: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Take uint8 of shape (N, C, H, W)."""
        found: Tensor | tuple[Tensor, ...] = self.call(self.tile(aerial))
        return found


class SatelliteCall(nn.Module):
    """A satellite part that is given zeros for months without a date.

    Args:
        network: The module whose weights it uses.
        function: What is called.
    """

    def __init__(self, network: nn.Module, function: Branch) -> None:
        super().__init__()
        self.call = Call(network, function)

    def forward(
        self, satellite: Tensor, date_mask: Tensor, days: Tensor
    ) -> Tensor | tuple[Tensor, ...]:
        """Take a series (N, T, B, h, w), a mask (N, T) and days (N, T)."""
        known = torch.where(date_mask[:, :, None, None, None] > 0, satellite, 0.0)
        found: Tensor | tuple[Tensor, ...] = self.call(known, date_mask, days)
        return found


def _several(found: Tensor | tuple[Tensor, ...]) -> Features:
    return found if isinstance(found, tuple) else (found,)


def _specs(name: str, found: Features) -> tuple[PartTensor, ...]:
    names = [f"{name}_features_{i + 1}" for i in range(len(found))]
    if len(found) == 1:
        names = [f"{name}_features"]
    return tuple(
        PartTensor(name=own, dtype=item.dtype, shape=tuple(item.shape[1:]))
        for own, item in zip(names, found, strict=True)
    )


def _described(item: object) -> str:
    if isinstance(item, Tensor):
        return f"{str(item.dtype).removeprefix('torch.')} {tuple(item.shape)}"
    return type(item).__name__
