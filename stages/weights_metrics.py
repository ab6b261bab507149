"""Weights of metrics: what `talk evaluate` needs and no stage uses, in the one registry.

Here so that one command lists, fetches and verifies whatever the project downloads, and one cache
holds it. Digests as in :mod:`stages.weights`: each was found equal in at least two public sources
that pin the file. The three TorchScript files bring their network along as a program of
TorchScript, which runs in torch's interpreter; that they are these very files is what makes it
safe to load them.
"""

from __future__ import annotations

from stages.weights import WeightFile, Weights, from_hub

_NVLABS = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics"
_NVIDIA_TERMS = "NVIDIA Source Code License for StyleGAN2 (non-commercial)"

INCEPTION_FID = Weights(
    name="inception-fid",
    revision="2015-12-05",
    licence=_NVIDIA_TERMS,
    used_by="talk evaluate: FID",
    files=(
        WeightFile(
            "inception-2015-12-05.pt",
            f"{_NVLABS}/inception-2015-12-05.pt",
            "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
            95_607_719,
        ),
    ),
)
"""The Inception-v3 of the original FID (TensorFlow, 2015-12-05) as stylegan2-ada-pytorch and
clean-fid use it."""

VGG16_LPIPS = Weights(
    name="vgg16-lpips",
    revision="stylegan2-ada",
    licence=_NVIDIA_TERMS,
    used_by="talk evaluate: LPIPS",
    files=(
        WeightFile(
            "vgg16.pt",
            f"{_NVLABS}/vgg16.pt",
            "b437eb095feaeb0b83eb3fa11200ebca4548ee39a07fb944a417ddc516cc07c3",
        ),
    ),
)
"""VGG16 with the linear heads of LPIPS (Zhang et al. 2018) worked in, of stylegan2-ada-pytorch."""

I3D_FVD = from_hub(
    "i3d-fvd",
    "flateon/FVD-I3D-torchscript",
    "1c2d61711c52571ad617a1063e6fa691b212e184",
    {
        "i3d_torchscript.pt": (
            51_235_320,
            "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
        )
    },
    licence="not stated; I3D is Apache-2.0 (google-deepmind/kinetics-i3d)",
    used_by="talk evaluate: FVD",
)
"""I3D trained on Kinetics-400, translated by the authors of StyleGAN-V (universome/fvd-comparison);
values differ from those of I3D weights converted in other ways."""

ARCFACE = Weights(
    name="arcface",
    revision="buffalo_l",
    licence="InsightFace: non-commercial research only",
    used_by="talk evaluate: identity similarity and identity drift",
    files=(
        WeightFile(
            "w600k_r50.onnx",
            "https://huggingface.co/public-data/insightface/resolve/main/"
            "models/buffalo_l/w600k_r50.onnx",
            "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
            174_383_860,
        ),
    ),
)
"""ArcFace (Deng et al., CVPR 2019), ResNet-50 trained on WebFace600K, of InsightFace's pack."""

METRIC_WEIGHTS: tuple[Weights, ...] = (INCEPTION_FID, VGG16_LPIPS, I3D_FVD, ARCFACE)
