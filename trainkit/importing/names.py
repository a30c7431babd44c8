"""By which names published weights call the layers of the models here.

Each `Naming` says for every weight of a model under which name a file has it. What comes before all
names of a file, such as "model." or "module.", is found in `match`.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..aerial_config import UNetConfig, UPerNetConfig
from ..models import LandCoverModel, LateFusionModel
from ..models.factory import FactoryModel
from ..models.flair_hub import FlairHubModel

Rule = tuple[str, str]
"""A pattern of our name, and what it becomes; the first that fits the whole name counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """Names of one source."""

    label: str
    """Whose names they are, in a few words."""
    published: dict[str, str]
    """The source's name of each of our weights that it has."""
    spare: str = r"(?!)"
    """Pattern of names, without what comes before all, of weights that inference does not read."""


_SMP_UNET: tuple[Rule, ...] = (
    (r"decoder\.blocks\.(\d)\.([0134])\.(\w+)", "unet block"),
    (r"head\.(\w+)", r"segmentation_head.0.\1"),
)

_SMP_UPERNET: tuple[Rule, ...] = (
    (r"decoder\.context\.branches\.(\d)\.(.+)", r"decoder.psp.blocks.\1.1.\2"),
    (r"decoder\.context\.join\.(.+)", r"decoder.psp.out_conv.\1"),
    (r"decoder\.laterals\.(\d)\.(.+)", "upernet lateral"),
    (r"decoder\.join\.(.+)", r"decoder.fpn_bottleneck.\1"),
    (r"decoder\.head\.(\w+)", r"segmentation_head.0.\1"),
)

_UTAE: tuple[Rule, ...] = (
    (r"enter\.(\d)\.(\d)\.(.+)", "utae enter"),
    (r"down\.(\d)\.down\.(.+)", r"down_blocks.\1.down.conv.\2"),
    (r"down\.(\d)\.widen\.(.+)", r"down_blocks.\1.conv1.conv.\2"),
    (r"down\.(\d)\.refine\.(.+)", r"down_blocks.\1.conv2.conv.\2"),
    (r"up\.(\d)\.up\.(.+)", r"up_blocks.\1.up.\2"),
    (r"up\.(\d)\.skip\.(.+)", r"up_blocks.\1.skip_conv.\2"),
    (r"up\.(\d)\.join\.(.+)", r"up_blocks.\1.conv1.conv.\2"),
    (r"up\.(\d)\.refine\.(.+)", r"up_blocks.\1.conv2.conv.\2"),
    (r"attention\.norm_in\.(.+)", r"temporal_encoder.in_norm.\1"),
    (r"attention\.project\.(.+)", r"temporal_encoder.inconv.\1"),
    (r"attention\.query", r"temporal_encoder.attention_heads.Q"),
    (r"attention\.key\.(.+)", r"temporal_encoder.attention_heads.fc1_k.\1"),
    (r"attention\.mlp\.(.+)", r"temporal_encoder.mlp.0.\1"),
    (r"attention\.norm_mlp\.(.+)", r"temporal_encoder.mlp.1.\1"),
    (r"attention\.norm_out\.(.+)", r"temporal_encoder.out_norm.\1"),
)

_COUNTED: dict[str, Callable[[re.Match[str]], str]] = {
    # There the coarsest block comes first, and layers 0, 1 and 3, 4 lie in two stacks.
    "unet block": lambda m: (
        f"decoder.blocks.{4 - int(m[1])}.conv{1 + int(m[2]) // 3}.{int(m[2]) % 3}.{m[3]}"
    ),
    "upernet lateral": lambda m: f"decoder.fpn_stages.{2 - int(m[1])}.skip_conv.{m[2]}",
    # There both convolutions lie in one stack of six layers.
    "utae enter": lambda m: f"in_conv.conv.conv.{3 * int(m[1]) + int(m[2])}.{m[3]}",
}
"""Names with numbers that are counted otherwise."""

HUB_AERIAL = "encoders.AERIAL_RGBI.seg_model."
HUB_SATELLITE = "encoders.SENTINEL2_TS."
HUB_DECODER = "main_decoders.AERIAL_LABEL-COSIA.seg_model."
"""Where FLAIR-HUB keeps what it makes of segmentation_models_pytorch and of U-TAE."""

_HUB_SPARE = (
    r"aux_decoders\..*|criterion\..*|(train|val|test)_\w+(\..*)?|fusion_handler\..*"
    r"|encoders\.SENTINEL2_TS\.out_conv\..*"
    # The level of the image itself, which the decoder holds and does not read.
    r"|main_decoders\.AERIAL_LABEL-COSIA\.seg_model\.decoder\.fpn_stages\.4\..*"
)
_SMP_SPARE = r"criterion\..*|(train|val|test)_\w+(\..*)?|decoder\.fpn_stages\.4\..*"

ALWAYS_SPARE = re.compile(r".*(num_batches_tracked|relative_position_index|attn_mask)")
"""Counters, and tables that follow from the sizes of a model."""


def namings(model: LandCoverModel) -> list[Naming]:
    """Give the sources whose names are known for a model, its own names first."""
    keys = [*model.state_dict()]
    known = [Naming(label="segx", published={key: key for key in keys})]
    if isinstance(model, FactoryModel):
        own = _below(keys, "network.")
        return [Naming(label="the module's own", published={f"network.{key}": key for key in own})]
    if isinstance(model, LateFusionModel) and len(model.branch_names) == 1:
        (branch,) = model.branch_names
        known += _branch_namings(model, f"branches.{branch}.")
    if isinstance(model, FlairHubModel):
        known += _hub_namings(keys)
    return known


def _branch_namings(model: LateFusionModel, start: str) -> list[Naming]:
    """Names of weights of one branch: its own alone, and those of segmentation_models_pytorch."""
    own = _below([*model.state_dict()], start)
    known = [Naming(label="a branch of segx", published={start + key: key for key in own})]
    rules = _SMP_RULES.get(type(model.config.aerial[0])) if model.config.aerial else None
    if rules is None:
        return known
    for label, encoder in (("", r"encoder.\1"), (", encoder from timm", r"encoder.model.\1")):
        renamed = _renamed(own, ((r"encoder\.backbone\.(.+)", encoder), *rules))
        smp = {start + key: name for key, name in renamed.items()}
        hub = {key: _in_hub(name) for key, name in smp.items()}
        known += [
            Naming(label=f"segmentation_models_pytorch{label}", published=smp, spare=_SMP_SPARE),
            Naming(label=f"FLAIR-HUB{label}", published=hub, spare=_HUB_SPARE),
        ]
    return known


_SMP_RULES: dict[type, tuple[Rule, ...]] = {UNetConfig: _SMP_UNET, UPerNetConfig: _SMP_UPERNET}


def _in_hub(name: str) -> str:
    """Move a name of segmentation_models_pytorch to where FLAIR-HUB keeps it."""
    return (
        HUB_AERIAL + name.removeprefix("encoder.")
        if name.startswith("encoder.")
        else (HUB_DECODER + name)
    )


def _hub_namings(keys: list[str]) -> list[Naming]:
    """Names of FLAIR-HUB's model of both inputs."""
    satellite = {
        f"satellite.utae.{key}": HUB_SATELLITE + name
        for key, name in _renamed(_below(keys, "satellite.utae."), _UTAE).items()
    }
    decoder = {
        f"decoder.{key}": HUB_DECODER + name
        for key, name in _renamed(_below(keys, "decoder."), _SMP_UPERNET).items()
    }
    fuse = _renamed(keys, ((r"decoder\.fuse\.(\d)\.(\w+)", r"fusion_handler.conv_f.\1.\2"),))
    known = []
    for label, encoder in ((", encoder from timm", "model."), ("", "")):
        aerial = _renamed(
            keys, ((r"aerial\.encoder\.backbone\.(.+)", rf"{HUB_AERIAL}{encoder}\1"),)
        )
        published = aerial | satellite | decoder | fuse
        known.append(Naming(label=f"FLAIR-HUB{label}", published=published, spare=_HUB_SPARE))
    return known


def _below(keys: Iterable[str], start: str) -> list[str]:
    return [key.removeprefix(start) for key in keys if key.startswith(start)]


def _renamed(keys: Iterable[str], rules: Iterable[Rule]) -> dict[str, str]:
    """Rename what a rule fits; other keys are left out."""
    rules = tuple(rules)
    renamed = {}
    for key in keys:
        for pattern, name in rules:
            found = re.fullmatch(pattern, key)
            if found is not None:
                renamed[key] = _COUNTED[name](found) if name in _COUNTED else found.expand(name)
                break
    return renamed
