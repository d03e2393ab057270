"""Random numbers that depend on (key, name, row, token) and on nothing else.

A counter-based generator: each entry of a (B, L, D) draw is a hash of its own address. Padding a batch, cutting it
into micro-batches, spreading it over processes or resuming a run therefore changes no draw, and no global generator
is touched. The address of a token counts real tokens only, so the side of the padding does not matter either.
"""

import math

import torch
from torch import Tensor

from ..data.batch import Batch, make_key, same_document

_ODD = 0x9E3779B97F4A7C15 - (1 << 64)  # 2^64 / golden ratio as a signed number: the usual Weyl step


def uniform(batch: Batch, like: Tensor, name: str) -> Tensor:
    """U(-1, 1) in the shape (B, L, D), device and dtype of `like`; zero where nothing may be perturbed."""
    return _masked(batch, _fraction(_bits(batch, like.shape[-1], name), like).mul_(2).sub_(1))


def normal(batch: Batch, like: Tensor, name: str) -> Tensor:
    """N(0, 1) in the shape (B, L, D), device and dtype of `like`; zero where nothing may be perturbed."""
    width = like.shape[-1]
    half = (width + 1) // 2
    fractions = _fraction(_bits(batch, 2 * half, name), like)
    length = fractions[..., :half].log_().mul_(-2).sqrt_()  # Box and Muller: two uniforms give two normals
    angle = fractions[..., half:].mul_(2 * math.pi)
    pairs = torch.cat([length * angle.cos(), length * angle.sin()], dim=-1)
    return _masked(batch, pairs[..., :width])


def generator(device: torch.device, key: int, name: str) -> torch.Generator:
    """A torch generator for draws that are not about sentences, such as noise over the weights."""
    return torch.Generator(device).manual_seed(make_key(key, name))


def _masked(batch: Batch, values: Tensor) -> Tensor:
    return values.masked_fill_(~batch.perturbable.unsqueeze(-1), 0.0)


def _bits(batch: Batch, width: int, name: str) -> Tensor:
    """(B, L, width) int32: 32 random bits for every address."""
    position = batch.real.long().cumsum(1)
    token = _mix64(_mix64(batch.rows * _ODD + make_key(batch.key, name)).unsqueeze(1) + position * _ODD)
    low, high = token.to(torch.int32).unsqueeze(-1), (token >> 32).to(torch.int32).unsqueeze(-1)
    entry = torch.arange(width, device=token.device, dtype=torch.int32) * -1640531527  # 2^32 / golden ratio, signed
    return _mix32_(_mix32_(low + entry).bitwise_xor_(high))


def _fraction(bits: Tensor, like: Tensor) -> Tensor:
    """The top 24 bits as a number above 0 and at most 1 (float32 rounds the largest to 1)."""
    return ((bits >> 8) & 0xFFFFFF).to(like.dtype).add_(0.5).mul_(2.0**-24)


def _mix64(x: Tensor) -> Tensor:
    """splitmix64's finaliser (Steele, Lea, Flood, 2014) on int64, which wraps around; >> needs its sign bits cut."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * (0x94D049BB133111EB - (1 << 64))
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def _mix32_(x: Tensor) -> Tensor:
    """A two-round multiply-xorshift hash of int32, in place."""
    x.bitwise_xor_((x >> 16) & 0xFFFF).mul_(0x7FEB352D)
    x.bitwise_xor_((x >> 15) & 0x1FFFF).mul_(0x846CA68B - (1 << 32))
    return x.bitwise_xor_((x >> 16) & 0xFFFF)


def ball_uniform(batch: Batch, like: Tensor, size: float, name: str) -> Tensor:
    """U(-1, 1) * size / sqrt(n D), n the sentence's own perturbable tokens: an L2 norm of about size / sqrt(3).

    With the padded length in place of n the draw would depend on the other sentences of the batch. Each document of a
    packed row counts its own.
    """
    if batch.segments is None:
        tokens = batch.perturbable.sum(1, keepdim=True)
    else:
        tokens = (same_document(batch.segments) & batch.perturbable.unsqueeze(1)).sum(-1)
    entries = tokens.clamp(min=1) * like.shape[-1]
    return uniform(batch, like, name) * (size / entries.to(like.dtype).sqrt()).unsqueeze(-1)
