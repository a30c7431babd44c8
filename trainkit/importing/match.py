"""Find out which tensor of a file is which weight of a model, and refuse what does not fit."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from runtime.errors import CheckpointError

from ..models import LandCoverModel, LateFusionModel
from ..models.aerial import AerialInput
from .names import ALWAYS_SPARE, Naming, namings
from .weights_file import Weights

NAMED = 4
"""Weights that a message names."""

TRAINING_ONLY = re.compile(r".*\.aux_head\..*|satellite_head\..*|unread\..*")
"""Our names of heads that training alone reads, and of layers that nothing reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which tensor of a file is which weight of a model."""

    naming: Naming
    wrapper: str
    """Key under which the tensors lie in the file."""
    prefix: str
    """What comes before all names."""
    found: dict[str, str]
    """The file's name of each of our weights that it has."""
    missing: tuple[str, ...]
    """Our weights that it lacks, of those that inference reads."""
    left: tuple[str, ...]
    """Our weights that it lacks and that training alone reads."""
    wrong: tuple[str, ...]
    """Our weights that it has in another shape."""
    spare: tuple[str, ...]
    """Its tensors that inference has no use for, such as those of auxiliary heads."""
    unexpected: tuple[str, ...]
    """Its tensors that the model has no place for."""


def best_match(model: LandCoverModel, sets: Mapping[str, Weights], path: Path) -> Match:
    """Choose the set of tensors, names and prefix by which most weights of a model are found.

    Args:
        model: The model.
        sets: Named tensors, by the key under which they lie.
        path: The file, for messages.

    Raises:
        CheckpointError: If no weight is found, or if two prefixes serve as well.
    """
    state = model.state_dict()
    matches = [
        _match(model, state, naming, wrapper, prefix, weights)
        for wrapper, weights in sets.items()
        for naming in namings(model)
        for prefix in _prefixes(naming, weights, path)
    ]
    best = max(matches, key=lambda match: len(match.found), default=None)
    if best is None or not best.found:
        first = next(iter(next(iter(sets.values()))))
        raise CheckpointError(
            f"{path} has no weight of {model.config.name}, its first is {first}; expected names "
            f"such as {next(iter(state))}; name the preset or factory that the weights are of"
        )
    return best


def _prefixes(naming: Naming, weights: Weights, path: Path) -> list[str]:
    """Give what comes before most of the names that are known; nothing where none is."""
    known, counts = set(naming.published.values()), Counter[str]()
    for name in weights:
        start = 0
        while start >= 0:
            if name[start:] in known:
                counts[name[:start]] += 1
            start = name.find(".", start) + 1 or -1
    best = counts.most_common(2)
    if len(best) == 2 and best[0][1] == best[1][1] == len(known):
        raise CheckpointError(
            f"{path} has all weights twice, under '{best[0][0]}' and '{best[1][0]}'; expected one "
            "set; save the one that counts alone"
        )
    return [best[0][0]] if best else []


def _match(
    model: LandCoverModel,
    state: Mapping[str, Tensor],
    naming: Naming,
    wrapper: str,
    prefix: str,
    weights: Weights,
) -> Match:
    settings = _settings(model)
    found: dict[str, str] = {}
    missing, left, wrong = [], [], []
    for key, value in state.items():
        name = prefix + naming.published.get(key, key)
        if key in naming.published and name in weights:
            found[key] = name
            if fitted(weights[name], value) is None:
                wrong.append(key)
        elif TRAINING_ONLY.fullmatch(key):
            left.append(key)
        elif key not in settings and not ALWAYS_SPARE.fullmatch(key):
            missing.append(key)
    others = sorted(set(weights) - set(found.values()))
    is_spare = [_is_spare(name, prefix, naming) for name in others]
    return Match(
        naming=naming,
        wrapper=wrapper,
        prefix=prefix,
        found=found,
        missing=tuple(missing),
        left=tuple(left),
        wrong=tuple(wrong),
        spare=tuple(name for name, spare in zip(others, is_spare, strict=True) if spare),
        unexpected=tuple(name for name, spare in zip(others, is_spare, strict=True) if not spare),
    )


def _is_spare(name: str, prefix: str, naming: Naming) -> bool:
    if ALWAYS_SPARE.fullmatch(name):
        return True
    # Losses and scores lie beside the model, not below its prefix.
    ends = (name.removeprefix(prefix), name)
    return any(re.fullmatch(naming.spare, end) or TRAINING_ONLY.fullmatch(end) for end in ends)


def _settings(model: LandCoverModel) -> set[str]:
    """Our names of what the config gives: statistics of the bands, and one branch's weight."""
    names = {
        f"{name}.{value}"
        for name, module in model.named_modules()
        if isinstance(module, AerialInput)
        for value in ("mean", "std")
    }
    weights = model.config.fusion_weights
    if isinstance(model, LateFusionModel) and (
        len(model.branch_names) == 1 or isinstance(weights, tuple)
    ):
        names.add("fusion.weights")
    return names


def fitted(found: Tensor, wanted: Tensor) -> Tensor | None:
    """Give a tensor in the shape and type that a model wants, or None where it does not fit.

    A convolution of one pixel is as good as a product of matrices.
    """
    shape, target = tuple(found.shape), tuple(wanted.shape)
    while len(shape) > len(target) and shape[-1] == 1:
        shape = shape[:-1]
    if shape != target or found.is_floating_point() != wanted.is_floating_point():
        return None
    return found.reshape(target).to(wanted.dtype)


def check(match: Match, model: LandCoverModel, weights: Weights, path: Path, *, lax: bool) -> None:
    """Refuse what does not fit.

    Args:
        match: What was found.
        model: The model.
        weights: The tensors of the file.
        path: The file, for messages.
        lax: Whether tensors without a place are passed over.

    Raises:
        CheckpointError: Naming the first weights that are missing, of another shape, without a
            place or not finite, or settings that differ.
    """
    name = model.config.name
    state = model.state_dict()
    found = (
        f"{path} gives {len(match.found)} weights of {name} by the names of {match.naming.label}"
    )
    if match.missing:
        raise CheckpointError(
            f"{found} and lacks {_counted(match.missing)}; expected all "
            f"{len(match.found) + len(match.missing)}; name another preset, or give the whole file"
        )
    if match.wrong:
        raise CheckpointError(_misfit(match, model, weights, path))
    if match.unexpected and not lax:
        raise CheckpointError(
            f"{found} and also holds {_counted(match.unexpected)}, for which that has no place; "
            "name another preset, or pass over them with --ignore-unexpected"
        )
    broken = [
        key
        for key, theirs in match.found.items()
        if weights[theirs].is_floating_point() and not torch.isfinite(weights[theirs]).all()
    ]
    if broken:
        raise CheckpointError(
            f"{path} holds NaN or infinity in {_counted(broken)}; expected numbers; the file or "
            "its training is damaged"
        )
    for key in sorted(_settings(model) & set(match.found)):
        given = weights[match.found[key]].reshape(-1).float()
        if not torch.allclose(given, state[key].reshape(-1), rtol=1e-4):
            raise CheckpointError(
                f"{path} holds {match.found[key]} of {_numbers(given)}; {name} has "
                f"{_numbers(state[key].reshape(-1))}; put the file's into a copy of the preset "
                "and name that"
            )


def _misfit(match: Match, model: LandCoverModel, weights: Weights, path: Path) -> str:
    """Say what is of another shape: classes or bands where that explains it."""
    state, config, settings = model.state_dict(), model.config, _settings(model)
    wrong = [key for key in match.wrong if key not in settings] or list(match.wrong)
    pairs = [(tuple(weights[match.found[key]].shape), tuple(state[key].shape)) for key in wrong]
    heads = {found[0] for found, wanted in pairs if found and wanted and found[1:] == wanted[1:]}
    if len(heads) == 1 and all(
        found[1:] == wanted[1:] and wanted[0] == config.num_classes for found, wanted in pairs
    ):
        return (
            f"{path} has a head of {heads.pop()} classes; {config.name} has {config.num_classes}; "
            "give the names of the file's classes with --classes"
        )
    if len(pairs) == 1 and pairs[0][0][:1] == pairs[0][1][:1] and len(pairs[0][0]) == 4:
        bands = ", ".join(config.input.aerial_bands)
        if pairs[0][1][1] == len(config.input.aerial_bands) and pairs[0][0][2:] == pairs[0][1][2:]:
            return (
                f"{path} reads {pairs[0][0][1]} aerial bands; {config.name} has "
                f"{pairs[0][1][1]} ({bands}); name a preset of the file's bands, or a TOML file "
                "with them"
            )
    (found, wanted), key = pairs[0], wrong[0]
    return (
        f"{path} holds {match.found[key]} of shape {found}; {config.name} needs {wanted}, and "
        f"{len(pairs) - 1} more differ; name the preset that the weights are of"
    )


def _counted(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _numbers(values: Tensor) -> str:
    return ", ".join(f"{value:.4g}" for value in values.tolist()[:8])
