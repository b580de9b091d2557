"""OlmoEarth: optical and radar series through one encoder; four versions that differ in tokens and in positions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.errors import ModelInputError, SpecError
from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.models.positions import joined, plane, sincos
from rs_embed_dask.models.vit import Block, PatchEmbed, TrunkConfig, Turn
from rs_embed_dask.preprocess.batch import Batch, Tokens, same_places

# By modality: the published name, and the sets of bands that make one token each in version 1.
NAMES = {
    "s2": ("sentinel2_l2a", ((0, 1, 2, 3), (4, 5, 6, 7, 8, 9), (10, 11))),
    "s1": ("sentinel1", ((0, 1),)),
    "landsat": ("landsat", ((0,), tuple(range(1, 11)))),
}
_PATCH = 8  # the side for which the weights were trained
_BEFORE_MONTH = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


class _PixelEmbed(nn.Module):
    """One token per patch of 8 x 8, (N, C, H, W) to (N, h, w, D); a layer is applied to each pixel first."""

    def __init__(self, channels: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.pixel_proj = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU())
        self.proj = nn.Linear(_PATCH * _PATCH * hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        pixel: Any = self.pixel_proj[0]
        kernel = self.proj.weight.unflatten(1, (_PATCH, _PATCH, -1)).movedim(-1, 1)
        x = functional.conv2d(x, pixel.weight[..., None, None], pixel.bias).relu()
        return functional.conv2d(x, kernel, self.proj.bias, stride=_PATCH).permute(0, 2, 3, 1)


class _Pooler(nn.Module):
    """One learned query per patch that attends to every token, then to all queries; and a small copy of the result."""

    def __init__(self, trunk: TrunkConfig) -> None:
        super().__init__()
        self.learned_query = nn.Parameter(torch.zeros(1, trunk.dim))
        self.input_norm, self.norm = trunk.norm(), trunk.norm()
        self.read_blocks, self.self_attn_blocks = (nn.ModuleList([Block(trunk, split=True)]) for _ in range(2))
        self.student = nn.Sequential(nn.Linear(trunk.dim, 128), nn.LayerNorm(128))
        self.head = trunk.dim // trunk.heads

    def forward(self, x: Tensor, of_tokens: Tensor, places: Tensor, *, mask: Tensor | None) -> Tensor:
        """Tokens (B, N, D) at (B, N, 2) to one vector per place (B, P, 2): (B, P, D)."""
        here, there = (_turning(_axial(where, self.head)) for where in (places, of_tokens))
        queries, keys = self.learned_query.expand(*places.shape[:2], -1), self.input_norm(x)
        for read, reflect in zip(self.read_blocks, self.self_attn_blocks, strict=True):
            queries = read(queries, mask, keys=keys, turn=(here, there))
            queries = reflect(queries, turn=(here, here))
        return self.norm(queries)


@dataclass(frozen=True, kw_only=True)
class OlmoEarthConfig(TrunkConfig):
    norm_eps: float = 1e-5
    patch_px: int = 4  # side of a token, below 8 by enlarging the image
    hidden: int = 0  # width of a pixel's layer; 0: a convolution for each set of bands (version 1)
    rotary: bool = False  # gives attention the place and the time instead of adding them
    pooler: bool = False  # of version 1.3
    vectors: Literal["tokens", "location", "student"] = "tokens"  # or the pooler's of a place, or their small copy

    def __post_init__(self) -> None:
        if self.vectors != "tokens" and not self.pooler:
            fix = "use variant='base_v1_3', or vectors='tokens'"
            raise SpecError("olmoearth: vectors", value=self.vectors, reason="only version 1.3 has them", fix=fix)


class OlmoEarth(nn.Module):
    def __init__(self, config: OlmoEarthConfig) -> None:
        super().__init__()
        self.vectors, self.patch_px, self.rotary = config.vectors, config.patch_px, config.rotary
        dim, hidden = config.dim, config.hidden
        stems, codes = {}, {}
        for name, sets in NAMES.values():
            counts = [sum(map(len, sets))] if hidden else [*map(len, sets)]
            layers = (_PixelEmbed(n, dim, hidden) if hidden else PatchEmbed(n, dim, _PATCH) for n in counts)
            stems[name] = nn.ModuleDict({f"{name}__{i}": stem for i, stem in enumerate(layers)})
            codes[name] = nn.Parameter(torch.zeros(len(counts), dim // 4))
        self.patch_embeddings = nn.ModuleDict({"per_modality_embeddings": nn.ModuleDict(stems)})
        tables = {"per_modality_channel_embeddings": nn.ParameterDict(codes), "month_embed": nn.Embedding(12, dim // 4)}
        self.composite_encodings = nn.ModuleDict(tables)
        self.blocks, self.norm = config.blocks(split=True), config.norm()
        for block in self.blocks if self.rotary else ():
            learned = nn.Parameter(torch.zeros(3, config.heads, dim // config.heads // 2))
            block.get_submodule("attn").register_parameter("rope_mixed_freqs", learned)
        self.attention_pooler = _Pooler(config) if config.pooler else None

    def forward(self, batch: Batch) -> Tokens:
        """Encode any of s2, s1, landsat (B, T, C, H, W)."""
        maps = {name: self._tokens(name, batch) for name in NAMES if name in batch.images}  # (B, h, w, T, sets, D)
        same_places({name: tuple(x.shape[1:4]) for name, x in maps.items()})
        masks = {name: batch.shown(name)[:, None, None, :, None].expand(x.shape[:-1]) for name, x in maps.items()}
        where = {name: self._where(x.shape, batch) for name, x in maps.items()}
        shown = _flat(masks)
        used = shown.any(0)
        present, at = shown[:, used], _flat(where)[:, used]
        mask = None if present.all() else present[:, None, None]
        x = self._attend(_flat(maps)[:, used], at, mask)
        full = x.new_zeros((*shown.shape, x.shape[-1]))
        full[:, used] = x * present[..., None]
        parts = full.split([one[0].numel() for one in masks.values()], dim=1)
        whole = {name: part.view(maps[name].shape) for name, part in zip(maps, parts, strict=True)}
        tokens = _averaged(whole, masks)
        tokens.extra = {NAMES[name][0]: part for name, part in whole.items()}
        if self.attention_pooler is None:
            return tokens
        places = next(iter(where.values()))[..., 0, 0, 1:].flatten(1, 2)  # (B, h w, 2)
        located = self.attention_pooler(x, at[..., 1:], places, mask=mask).view_as(tokens.patches)
        vectors = {"location": located, "student": self.attention_pooler.student(located)}
        tokens.extra |= {"location_tokens": located, "student_location_tokens": vectors["student"]}
        return tokens if self.vectors == "tokens" else Tokens(vectors[self.vectors], extra=tokens.extra)

    def _attend(self, x: Tensor, where: Tensor, mask: Tensor | None) -> Tensor:
        """Run the blocks on tokens (B, N, D) at (B, N, 3)."""
        for block in self.blocks:
            turn = None
            if self.rotary:
                learned = block.get_parameter("attn.rope_mixed_freqs").float()
                angles = torch.einsum("bnc,chj->bhnj", where, learned)
                turn = (_turning(angles),) * 2
            x = block(x, mask, turn=turn)
        return self.norm(x)

    def _tokens(self, name: str, batch: Batch) -> Tensor:
        """Tokens of a modality, to which codes are added in quarters of the width: bands, time, month, place."""
        images, (published, sets), patch = batch.images[name], NAMES[name], self.patch_px
        if any(side % patch for side in images.shape[-2:]):
            reason, fix = f"not a multiple of patch_px = {patch}", "choose another size_px or patch_px"
            raise ModelInputError("sides", value=tuple(images.shape[-2:]), reason=reason, fix=fix)
        flat, size = images.flatten(0, 1), tuple(side // patch * _PATCH for side in images.shape[-2:])
        if patch != _PATCH:
            flat = functional.interpolate(flat, size, mode="bicubic", antialias=True, align_corners=False)
        stems = [*self.get_submodule(f"patch_embeddings.per_modality_embeddings.{published}").children()]
        parts = [flat[:, list(one)] for one in sets] if len(stems) == len(sets) else [flat]
        maps = torch.stack([stem(part) for stem, part in zip(stems, parts, strict=True)], dim=3)  # (B T, h, w, sets, D)
        tokens = maps.unflatten(0, images.shape[:2]).permute(0, 2, 3, 1, 4, 5)  # (B, h, w, T, sets, D)
        _, height, width, frames, _, dim = tokens.shape
        bands = self.get_parameter(f"composite_encodings.per_modality_channel_embeddings.{published}")
        month = self.composite_encodings["month_embed"](batch.need("dates")[..., 1] - 1)[:, None, None, :, None]
        time = place = torch.zeros_like(bands)
        if not self.rotary:
            time = sincos(torch.arange(frames, device=flat.device), dim // 4, spread=0.25)[:, None]
            place = plane((height, width), dim // 4, batch.need("gsd_m") * patch / 10, spread=0.25)[:, :, :, None, None]
        return tokens + joined(tokens.shape[:-1], bands, time, month, place)

    def _where(self, shape: torch.Size, batch: Batch) -> Tensor:
        """Time in units of 30 days, row and column in tens of metres, of tokens (B, h, w, T, sets): (..., 3)."""
        dates, scale = batch.need("dates").double(), batch.need("gsd_m")[:, None, None] * self.patch_px / 10
        before = dates.new_tensor(_BEFORE_MONTH)[dates[..., 1].long() - 1]
        days = (dates[..., 0] - 2000) * 365.25 + before + dates[..., 2] - 1  # (B, T)
        rows, columns = (torch.arange(side, device=dates.device) for side in shape[1:3])
        time = (days / 30).float()[:, None, None, :, None]
        axes = (time, (rows[:, None] * scale)[..., None, None], (columns * scale)[..., None, None])
        return torch.stack([axis.expand(shape[:-1]) for axis in axes], dim=-1)


def _flat(parts: Mapping[str, Tensor]) -> Tensor:
    """Flatten the tokens (B, h, w, T, sets, ...) of all modalities into one sequence: (B, N, ...)."""
    return torch.cat([part.flatten(1, 4) for part in parts.values()], dim=1)


def _averaged(tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tokens:
    """Average each modality at each place, then the modalities; the vector of several is the mean of all tokens."""
    sums = torch.stack([(tokens[name] * shown[..., None]).sum((3, 4)) for name, shown in masks.items()])
    counts = torch.stack([shown.sum((3, 4))[..., None] for shown in masks.values()])  # (modalities, B, h, w, 1)
    grid = (sums / counts.clamp(min=1)).sum(0) / (counts > 0).sum(0)
    pooled = sums.sum((0, 2, 3)) / counts.sum((0, 2, 3)) if len(tokens) > 1 else None
    return Tokens(grid, pooled=pooled, each=grid)


def _turning(angles: Tensor) -> Turn:
    """Return a function that rotates pairs (2j, 2j + 1) of (B, heads, N, D) by angles (B, heads or 1, N, D / 2)."""
    cos, sin = angles.cos(), angles.sin()

    def turned(x: Tensor) -> Tensor:
        even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)

    return turned


def _axial(places: Tensor, head: int, base: float = 10000.0) -> Tensor:
    """Angles of places (B, N, 2): the row in the first half of a head's pairs, the column in the second."""
    steps = torch.arange(head // 4, device=places.device) / (head // 4)
    return (places[..., None] * base**-steps).flatten(-2)[:, None]  # (B, 1, N, D / 2)


build = from_keywords(OlmoEarth, OlmoEarthConfig)
