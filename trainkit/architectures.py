"""What is common to the networks of a config, aerial and joint.

A new architecture is a dataclass in `aerial_config` or `joint_config`, a module in `models`, and
its line in `models.architectures`.
"""

from dataclasses import replace
from typing import Any, TypeVar

from .aerial_config import AerialConfig, EncoderConfig
from .joint_config import JointConfig

NetworkT = TypeVar("NetworkT", bound=AerialConfig | JointConfig)


def pretrained_weights(config: AerialConfig | JointConfig) -> str:
    """Give what the key `pretrained` says; empty for architectures without."""
    return config.pretrained if isinstance(config, EncoderConfig) else ""


def without_pretrained(config: NetworkT) -> NetworkT:
    """Give the same architecture with random weights."""
    unset: dict[str, Any] = {"pretrained": ""}
    return replace(config, **unset) if pretrained_weights(config) else config
