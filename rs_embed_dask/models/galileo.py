"""Galileo: one encoder for pixels in space and time, maps, weather and places, in any combination."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rs_embed_dask.errors import ModelInputError
from rs_embed_dask.models.encoder import from_keywords
from rs_embed_dask.models.positions import joined, on_sphere, plane
from rs_embed_dask.models.vit import PatchEmbed, TrunkConfig
from rs_embed_dask.preprocess.batch import Batch, Tokens

# Groups of channels that make one token each: (name, input that holds them, its channels).
SPACE_TIME = (
    ("S1", "s1", (0, 1)),
    ("S2_RGB", "s2", (0, 1, 2)),
    ("S2_Red_Edge", "s2", (3, 4, 5)),
    ("S2_NIR_10m", "s2", (6,)),
    ("S2_NIR_20m", "s2", (7,)),
    ("S2_SWIR", "s2", (8, 9)),
    ("NDVI", "ndvi", (0,)),
)
SPACE = (("SRTM", "space", (0, 1)), ("DW", "space", tuple(range(2, 11))), ("WC", "space", tuple(range(11, 16))))
TIME = (("ERA5", "time", (0, 1)), ("TC", "time", (2, 3, 4)), ("VIIRS", "time", (5,)))
STATIC = (
    ("LS", "static", (0,)),
    ("location", "static", (1, 2, 3)),
    ("DW_static", "static", tuple(range(4, 13))),
    ("WC_static", "static", tuple(range(13, 18))),
)
Groups = tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(eq=False)
class _Kind:
    """Tokens of one kind and which of them exist: (B, ..., groups, D) and (B, ..., groups) bool."""

    tokens: Tensor
    valid: Tensor


@dataclass(frozen=True, kw_only=True)
class GalileoConfig(TrunkConfig):
    norm_eps: float = 1e-5
    patch_px: int = 8
    kernel_px: int = 8
    location: bool = False  # adds the place as a token
    max_frames: int = 24  # rows of the table of time positions


class Galileo(nn.Module):
    def __init__(self, config: GalileoConfig) -> None:
        super().__init__()
        dim, quarter = config.dim, config.dim // 4
        self.patch_px, self.location = config.patch_px, config.location
        self.pos_embed = nn.Parameter(torch.zeros(config.max_frames, quarter))
        self.s_t_channel_embed = nn.Parameter(torch.zeros(len(SPACE_TIME), quarter))
        self.sp_channel_embed = nn.Parameter(torch.zeros(len(SPACE), quarter))
        self.t_channel_embed = nn.Parameter(torch.zeros(len(TIME), quarter))
        self.st_channel_embed = nn.Parameter(torch.zeros(len(STATIC), quarter))
        self.month_embed = nn.Embedding(12, quarter)
        self.space_time_embed = _kernels(SPACE_TIME, dim, config.kernel_px)
        self.space_embed = _kernels(SPACE, dim, config.kernel_px)
        self.time_embed = nn.ModuleDict({name: nn.Linear(len(channels), dim) for name, _, channels in TIME})
        self.static_embed = nn.ModuleDict({name: nn.Linear(len(channels), dim) for name, _, channels in STATIC})
        self.blocks, self.norm = config.blocks(split=True), config.norm()

    def forward(self, batch: Batch) -> Tokens:
        """Encode any of s2, s1, ndvi (B, T, C, H, W), space (B, 16, H, W), time (B, T, 6), static (B, 18)."""
        embedded = (self._space_time(batch), self._space(batch), self._time(batch), self._static(batch))
        kinds = zip(("space_time", "space", "time", "static"), embedded, strict=True)
        present = {name: kind for name, kind in kinds if kind is not None}
        flat = torch.cat([kind.tokens.flatten(1, -2) for kind in present.values()], dim=1)  # (B, N, D)
        valid = torch.cat([kind.valid.flatten(1) for kind in present.values()], dim=1)  # (B, N)
        encoded = self.norm(self._attend(flat, valid))
        parts = encoded.split([kind.valid[0].numel() for kind in present.values()], dim=1)
        pooled = (encoded * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        whole = {
            name: _Kind(part.view_as(kind.tokens), kind.valid)
            for part, (name, kind) in zip(parts, present.items(), strict=True)
        }
        extra = {"pooled": pooled, **{name: kind.tokens for name, kind in whole.items()}}
        uneven = "time" in whole or "static" in whole
        patches = _by_patch(whole, pooled)
        return Tokens(patches, pooled=pooled if uneven else None, each=patches, extra=extra)

    def _attend(self, x: Tensor, valid: Tensor) -> Tensor:
        """Run the blocks on the tokens that exist; the others stay zero."""
        common = valid.any(0)
        shown, present = x[:, common], valid[:, common]
        mask = None if present.all() else present[:, None, None, :]
        for block in self.blocks:
            shown = block(shown, mask)
        full = torch.zeros_like(x, dtype=shown.dtype)
        full[:, common] = shown * present[..., None]
        return full

    def _space_time(self, batch: Batch) -> _Kind | None:
        pixels = next((batch.images[name] for name in ("s2", "s1", "ndvi") if name in batch.images), None)
        if pixels is None:
            return None
        frames = pixels.shape[1]
        if frames > len(self.pos_embed):
            reason = f"the model knows {len(self.pos_embed)} positions in time"
            raise ModelInputError("frames", value=frames, reason=reason, fix="take a shorter span, or longer frames")
        height, width = (side // self.patch_px for side in pixels.shape[-2:])
        blank = pixels.new_zeros((*pixels.shape[:2], height, width, self.norm.normalized_shape[0]))
        maps, masks = [], []
        for name, source, channels in SPACE_TIME:
            images = batch.images.get(source)
            hidden = batch.inputs[source].masked_at if source in batch.inputs else frozenset()
            if images is None or not hidden.isdisjoint(channels):
                maps.append(blank)
                masks.append(torch.zeros(pixels.shape[:2], dtype=torch.bool, device=pixels.device))
                continue
            tokens = self.space_time_embed[name](images[:, :, list(channels)].flatten(0, 1), self.patch_px)
            maps.append(tokens.unflatten(0, images.shape[:2]))  # (B, T, h, w, D)
            masks.append(batch.visible.get(name, batch.shown(source)))
        tokens = torch.stack(maps, dim=4).permute(0, 2, 3, 1, 4, 5)  # (B, h, w, T, groups, D)
        shown = torch.stack(masks, dim=2)[:, None, None].expand(tokens.shape[:-1])
        codes = {
            "time": self.pos_embed[:frames][:, None],
            "month": self.month_embed(batch.need("dates")[..., 1] - 1)[:, None, None, :, None],
            "place": self._places(batch, height, width)[:, :, :, None, None],
        }
        return _Kind(_coded(tokens, self.s_t_channel_embed, **codes), shown)

    def _space(self, batch: Batch) -> _Kind | None:
        maps = batch.images.get("space")
        if maps is None:
            return None
        groups = [self.space_embed[name](maps[:, list(channels)], self.patch_px) for name, _, channels in SPACE]
        tokens = torch.stack(groups, dim=3)  # (B, h, w, groups, D)
        place = self._places(batch, *tokens.shape[1:3])[:, :, :, None]
        return _Kind(_coded(tokens, self.sp_channel_embed, place=place), _shown(batch, tokens, SPACE))

    def _time(self, batch: Batch) -> _Kind | None:
        series = batch.images.get("time")
        if series is None:
            return None
        tokens = _linear(self.time_embed, series, TIME)  # (B, T, groups, D)
        months = self.month_embed(batch.need("dates")[..., 1] - 1)[:, :, None]
        codes = {"time": self.pos_embed[: tokens.shape[1], None], "month": months}
        return _Kind(_coded(tokens, self.t_channel_embed, **codes), _shown(batch, tokens, TIME))

    def _static(self, batch: Batch) -> _Kind | None:
        facts = batch.images.get("static")
        if facts is None and not self.location:
            return None
        groups = STATIC if facts is not None else STATIC[1:2]
        facts = functional.pad(on_sphere(batch.need("lonlat")), (1, 0)) if facts is None else facts
        tokens, rows = _linear(self.static_embed, facts, groups), [STATIC.index(group) for group in groups]
        return _Kind(_coded(tokens, self.st_channel_embed[rows]), _shown(batch, tokens, groups))

    def _places(self, batch: Batch, height: int, width: int) -> Tensor:
        """(B, h, w, D / 4); a unit is ten metres, and the authors' exponents are a quarter of the usual ones."""
        scale = batch.need("gsd_m") * self.patch_px / 10
        return plane((height, width), self.pos_embed.shape[1], scale, spread=0.25)


def _coded(tokens: Tensor, group: Tensor, **codes: Tensor) -> Tensor:
    """Add codes in quarters of the width: group, position in time, month, place; zeros where absent."""
    zero = torch.zeros_like(group[0])
    return tokens + joined(tokens.shape[:-1], group, *(codes.get(name, zero) for name in ("time", "month", "place")))


def _linear(layers: nn.ModuleDict, values: Tensor, groups: Groups) -> Tensor:
    """Embed each group of channels as a token: (..., C) to (..., groups, D)."""
    return torch.stack([layers[name](values[..., list(channels)]) for name, _, channels in groups], dim=-2)


def _shown(batch: Batch, tokens: Tensor, groups: Groups) -> Tensor:
    """Return which tokens exist, (B, ..., groups) bool: all except groups that the batch hides by name."""
    valid = torch.ones(tokens.shape[:-1], dtype=torch.bool, device=tokens.device)
    for i, (name, _, _) in enumerate(groups):
        if name in batch.visible:
            mask = batch.visible[name]
            valid[..., i] &= mask.view(*mask.shape, *(1,) * (valid.dim() - 1 - mask.dim()))
    return valid


def _kernels(groups: Groups, dim: int, side: int) -> nn.ModuleDict:
    return nn.ModuleDict({name: PatchEmbed(len(channels), dim, side) for name, _, channels in groups})


def _by_patch(kinds: dict[str, _Kind], pooled: Tensor) -> Tensor:
    """Average the visible tokens of every patch; tokens without a place count in each: (B, h, w, D)."""
    sums, counts = [], []
    for name, axes in (("space_time", (3, 4)), ("space", (3,)), ("time", (1, 2)), ("static", (1,))):
        if name in kinds:
            shown = kinds[name].valid[..., None]
            placed = (slice(None), slice(None), slice(None)) if "space" in name else (slice(None), None, None)
            sums.append((kinds[name].tokens * shown).sum(axes)[placed])
            counts.append(shown.sum(axes)[placed])
    if not {"space_time", "space"} & set(kinds):
        return pooled[:, None, None]
    return sum(sums[1:], sums[0]) / sum(counts[1:], counts[0])


build = from_keywords(Galileo, GalileoConfig)
