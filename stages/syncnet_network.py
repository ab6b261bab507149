"""The network of SyncNet: two towers whose state dict has the layout of the published weights.

Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV workshop 2016. Sizes and
names of the layers are those of ``SyncNetModel.S`` in joonson/syncnet_python, so that its file
``syncnet_v2.model`` loads; that they give the same numbers is tested against that class.
Torch is imported where the network is built, never with this module.
"""

from __future__ import annotations

from typing import Any

NUM_FEATURES = 1024


def build_network() -> Any:
    """Make the network, with random weights.

    Returns:
        Modules by name: ``netcnnlip`` (N, 3, T, 224, 224) to (N, 512, T - 4, 1, 1), ``netfclip``
        (N, 512) to (N, 1024); ``netcnnaud`` (N, 1, 13, 20) to (N, 512, 1, 1), ``netfcaud``.
    """
    from torch import nn

    def layer(conv: Any, norm: Any) -> list[Any]:
        return [conv, norm(conv.out_channels), nn.ReLU()]

    def lip(channels: tuple[int, int], kernel: tuple[int, int, int], **options: Any) -> list[Any]:
        return layer(nn.Conv3d(*channels, kernel, **options), nn.BatchNorm3d)

    def voice(channels: tuple[int, int], kernel: tuple[int, int], padding: int) -> list[Any]:
        return layer(nn.Conv2d(*channels, kernel, padding=padding), nn.BatchNorm2d)

    def head() -> Any:
        hidden = [nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU()]
        return nn.Sequential(*hidden, nn.Linear(512, NUM_FEATURES))

    beside, halved = (0, 1, 1), (1, 2, 2)
    lips = nn.Sequential(
        *lip((3, 96), (5, 7, 7), stride=halved),
        nn.MaxPool3d((1, 3, 3), halved),
        *lip((96, 256), (1, 5, 5), stride=halved, padding=beside),
        nn.MaxPool3d((1, 3, 3), halved, padding=beside),
        *lip((256, 256), (1, 3, 3), padding=beside),
        *lip((256, 256), (1, 3, 3), padding=beside),
        *lip((256, 256), (1, 3, 3), padding=beside),
        nn.MaxPool3d((1, 3, 3), halved),
        *lip((256, 512), (1, 6, 6)),
    )
    voices = nn.Sequential(
        *voice((1, 64), (3, 3), 1),
        nn.MaxPool2d((1, 1), (1, 1)),
        *voice((64, 192), (3, 3), 1),
        nn.MaxPool2d((3, 3), (1, 2)),
        *voice((192, 384), (3, 3), 1),
        *voice((384, 256), (3, 3), 1),
        *voice((256, 256), (3, 3), 1),
        nn.MaxPool2d((3, 3), (2, 2)),
        *voice((256, 512), (5, 4), 0),
    )
    return nn.ModuleDict(
        {"netcnnlip": lips, "netfclip": head(), "netcnnaud": voices, "netfcaud": head()}
    )
