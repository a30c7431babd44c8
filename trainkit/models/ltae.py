"""Lightweight temporal attention: one learned query per head chooses among the dates.

Reference: Garnot and Landrieu 2020, Lightweight Temporal Self-Attention for Classifying Satellite
Images Time Series, arXiv 2007.00586; as U-TAE (arXiv 2107.07933) uses it.
"""

from typing import Literal

import torch
from torch import Tensor, nn

# Shape letters: N batch, A cells of the coarsest map (h x w), T dates, D channels, G heads.

TemporalNorm = Literal["reference", "masked"]

_MASKED_SCORE = 1e3
_PERIOD = 1000.0
_EPSILON = 1e-5


class PositionalCode(nn.Module):
    """Sines and cosines of the day, the same for every head.

    Args:
        width: Numbers per day; even.
    """

    period: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        exponent = 2 * torch.arange(width // 2, dtype=torch.float64) / width
        period = (_PERIOD**exponent).to(torch.float32)
        self.register_buffer("period", period, persistent=False)

    def forward(self, days_NT: Tensor) -> Tensor:
        """Encode days, shape (N, T) to (N, T, width): even places are sines, odd ones cosines."""
        angle = days_NT.unsqueeze(-1) / self.period
        return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)


class TemporalGroupNorm(nn.Module):
    """GroupNorm over the channels of a group and all dates of one cell.

    Args:
        groups: Groups of channels.
        width: Channels D.
        mode: "reference" counts masked dates as zeros; "masked" leaves them out.
    """

    def __init__(self, groups: int, width: int, mode: TemporalNorm) -> None:
        super().__init__()
        self.groups = groups
        self.mode = mode
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, cells_NATD: Tensor, mask_N1T1: Tensor) -> Tensor:
        """Normalise cells, shape (N, A, T, D); masked dates hold zeros."""
        if self.mode == "reference":
            mask_N1T1 = mask_N1T1.new_ones((1, 1, cells_NATD.shape[2], 1))
        per_group = cells_NATD.shape[-1] // self.groups
        grouped = torch.unflatten(cells_NATD, -1, (self.groups, per_group))
        weight = mask_N1T1.unsqueeze(-1)
        count = weight.sum(dim=2, keepdim=True).clamp(min=1.0) * per_group
        mean = (grouped * weight).sum(dim=(2, 4), keepdim=True) / count
        centred = (grouped - mean) * weight
        variance = centred.square().sum(dim=(2, 4), keepdim=True) / count
        scaled: Tensor = ((grouped - mean) * torch.rsqrt(variance + _EPSILON)).flatten(-2)
        return scaled * self.weight + self.bias


class TemporalAttention(nn.Module):
    """L-TAE over every cell of a map.

    Args:
        width: Channels D, in and out.
        n_head: Heads G.
        d_model: Channels inside; each head sees d_model / n_head of them.
        d_k: Length of a key.
        norm: Which dates the first norm pools over.
    """

    def __init__(
        self, width: int, *, n_head: int, d_model: int, d_k: int, norm: TemporalNorm
    ) -> None:
        super().__init__()
        self.n_head, self.d_k = n_head, d_k
        self.norm_in = TemporalGroupNorm(n_head, width, norm)
        self.project = nn.Linear(width, d_model)
        self.position = PositionalCode(d_model // n_head)
        self.query = nn.Parameter(torch.empty(n_head, d_k))
        self.key = nn.Linear(d_model, n_head * d_k)
        self.attention_dropout = nn.Dropout(0.1)
        self.mlp = nn.Linear(d_model, width)
        self.norm_mlp = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(0.2)
        self.norm_out = nn.GroupNorm(n_head, width)
        nn.init.normal_(self.query, std=(2.0 / d_k) ** 0.5)
        nn.init.normal_(self.key.weight, std=(2.0 / d_k) ** 0.5)

    def forward(self, map_NTDhw: Tensor, mask_NT: Tensor, days_NT: Tensor) -> tuple[Tensor, Tensor]:
        """Merge the dates.

        Args:
            map_NTDhw: Maps of every date, zero where the date is masked.
            mask_NT: 1 where the date is real, else 0.
            days_NT: Days from the reference day.

        Returns:
            The merged map (N, D, h, w) and the attention (N, G, T, h, w), zero at masked dates.
        """
        width, height, across = map_NTDhw.shape[2:]
        cells = map_NTDhw.flatten(-2).permute(0, 3, 1, 2)
        mask = mask_NT[:, None, :, None]
        code = self.position(days_NT).repeat(1, 1, self.n_head).unsqueeze(1)
        values = self.project(self.norm_in(cells, mask)) + code
        attention = self._attention(values, mask)
        split = torch.unflatten(values, -1, (self.n_head, -1))
        heads = (attention.unsqueeze(-1) * split).sum(dim=2).flatten(2).flatten(0, 1)
        merged = torch.relu(self.norm_mlp(self.mlp(heads)))
        merged = self.norm_out(self.dropout(merged))
        merged = merged.reshape(-1, height, across, width).permute(0, 3, 1, 2)
        by_head = attention.permute(0, 3, 2, 1)
        return merged, torch.unflatten(by_head, -1, (height, across))

    def _attention(self, values_NATD: Tensor, mask_N1T1: Tensor) -> Tensor:
        keys = torch.unflatten(self.key(values_NATD), -1, (self.n_head, self.d_k))
        scores = (keys * self.query).sum(dim=-1) / self.d_k**0.5
        weights = torch.softmax(scores + (mask_N1T1 - 1.0) * _MASKED_SCORE, dim=2)
        dropped: Tensor = self.attention_dropout(weights) * mask_N1T1
        return dropped
