"""Stages of a residual network, by the names that torchvision and CLIP share."""

from torch import Tensor, nn
from torch.nn import functional


class Bottleneck(nn.Module):
    """Three convolutions with a shortcut; the second one strides, or an average `pool` as in CLIP."""

    def __init__(self, channels: int, width: int, *, stride: int = 1, pool: bool = False) -> None:
        super().__init__()
        wide, inner = 4 * width, 1 if pool else stride
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=inner, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.shrink = nn.AvgPool2d(stride) if stride > inner else nn.Identity()
        self.downsample: nn.Module | None = None
        if stride > 1 or channels != wide:
            shortcut = nn.Conv2d(channels, wide, 1, stride=inner, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 4 width, H / stride, W / stride)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.shrink(functional.relu(self.bn2(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(self.shrink(x))))


class ResnetStages(nn.Module):
    """Stages ``layer1``, ``layer2``, ... of bottlenecks; each but the first halves the map and doubles its channels."""

    # Maps are channels-last in memory, and so are the kernels once `Model` has placed the network: a third faster.

    channels_last = True

    def __init__(self, width: int, depths: tuple[int, ...], *, pool: bool = False) -> None:
        super().__init__()
        self.count = len(depths)
        channels = width
        for number, depth in enumerate(depths):
            blocks = []
            for block in range(depth):
                stride = 2 if number and not block else 1
                blocks.append(Bottleneck(channels, width << number, stride=stride, pool=pool))
                channels = 4 * width << number
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))

    def run(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to a map (B, h, w, D)."""
        for number in range(self.count):
            x = self.get_submodule(f"layer{number + 1}")(x)
        return x.permute(0, 2, 3, 1)  # (B, h, w, D)
