"""Weights: which files of which models the stages use, where they come from, under what terms.

In the room: the registry. Not in the room: fetching (:mod:`stages.weights_fetch`) and loading
(:mod:`stages.weights_load`). Weights are never in the repository.

Digests and sizes were not measured by us: each was found equal in at least two public sources
that pin the file. That the SyncNet file is the one of its authors is also stated, with the ends
of the digest, in the README of ``syncnet-python`` 0.2.3.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from stages.errors import StageError


@dataclass(frozen=True)
class WeightFile:
    """One file of a set of weights.

    Attributes:
        name: its name in the cache; in the repository as well, if it comes from the Hub.
        url: address it is fetched from.
        sha256: its digest; ``None`` where no source names it: then what the first fetch brings is
            trusted, recorded beside the file, and held to from then on.
        num_bytes: its size, ``None`` where it is not known.
    """

    name: str
    url: str
    sha256: str | None = None
    num_bytes: int | None = None


@dataclass(frozen=True)
class Weights:
    """The files that one model needs.

    Attributes:
        name: what a recipe and the command line call them.
        revision: commit, or version where there is no commit; part of the path in the cache.
        licence: terms of the weights, which may differ from those of the code.
        used_by: what a stage does with them.
        files: the files.
        hub_repo: repository on the Hugging Face Hub, which then serves the files at ``revision``.
    """

    name: str
    revision: str
    licence: str
    used_by: str
    files: tuple[WeightFile, ...]
    hub_repo: str | None = None


def from_hub(
    name: str,
    repo: str,
    revision: str,
    files: dict[str, tuple[int, str]],
    *,
    licence: str,
    used_by: str,
) -> Weights:
    """Describe weights that the Hugging Face Hub serves.

    Args:
        name: what they are called here.
        repo: repository, ``owner/name``.
        revision: commit.
        files: size in bytes and sha256 of each file, by its name in the repository.
        licence: terms.
        used_by: what a stage does with them.

    Returns:
        The entry.
    """
    root = f"https://huggingface.co/{repo}/resolve/{revision}"
    described = tuple(
        WeightFile(file, f"{root}/{file}", sha256, num_bytes)
        for file, (num_bytes, sha256) in files.items()
    )
    return Weights(name, revision, licence, used_by, described, hub_repo=repo)


SYNCNET = Weights(
    name="syncnet",
    revision="v2",
    licence='"for research purposes under Creative Commons Attribution License" (Oxford VGG page)',
    used_by="syncnet: AV offset, Sync-C, Sync-D",
    files=(
        WeightFile(
            "syncnet_v2.model",
            "https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
            "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
            54_573_114,
        ),
    ),
)
"""Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV workshop 2016."""

LR_ASD = Weights(
    name="lr-asd",
    revision="1b6dcd2d8fc2895683de6508ec6294ec47d388ca",
    licence="MIT",
    used_by="speaker: which of several faces speaks; useless for offsets",
    files=(
        WeightFile(
            "finetuning_TalkSet.model",
            "https://raw.githubusercontent.com/Junhua-Liao/LR-ASD/"
            "1b6dcd2d8fc2895683de6508ec6294ec47d388ca/weight/finetuning_TalkSet.model",
            "6b4ef53694e874e96cf630198dc479c78aebb3993bbf166aee3d926dfe7d9342",
            3_426_337,
        ),
    ),
)
"""Liao et al., LR-ASD, IJCV 2025; the model fine-tuned on TalkSet."""

AESTHETIC = Weights(
    name="laion-aesthetic",
    revision="6934dd81792f086e613a121dbce43082cb8be85e",
    licence="Apache-2.0",
    used_by="aesthetic: score of a frame from its CLIP ViT-L/14 embedding",
    files=(
        WeightFile(
            "sac+logos+ava1-l14-linearMSE.pth",
            "https://raw.githubusercontent.com/christophschuhmann/improved-aesthetic-predictor/"
            "6934dd81792f086e613a121dbce43082cb8be85e/sac%2Blogos%2Bava1-l14-linearMSE.pth",
            "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
            3_714_759,
        ),
    ),
)
"""LAION's improved aesthetic predictor: a head on the embedding of :data:`CLIP_VIT_L_14`."""

CLIP_VIT_L_14 = from_hub(
    "clip-vit-l-14",
    "timm/vit_large_patch14_clip_224.openai",
    "18d0535469bb561bf468d76c1d73aa35156c922b",
    {
        "open_clip_model.safetensors": (
            1_710_517_724,
            "9ce2e8a8ebfff3793d7d375ad6d3c35cb9aebf3de7ace0fc7308accab7cd207e",
        )
    },
    licence="Apache-2.0 (model card)",
    used_by="embedding, aesthetic: open_clip ViT-L-14, pretrained='openai'",
)
"""OpenAI's CLIP as open_clip loads it (open_clip_torch 3.3.0, ``pretrained.py``, ``_VITL14``)."""

WHISPER_SMALL = from_hub(
    "whisper-small",
    "Systran/faster-whisper-small",
    "536b0662742c02347bc0e980a01041f333bce120",
    {
        "model.bin": (
            483_546_902,
            "3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671",
        ),
        "config.json": (2_370, "b55496ac7940a7ae47d2c01eab40edfd8701feec1229d9cce3b40014383fb828"),
        "tokenizer.json": (
            2_203_239,
            "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        ),
        "vocabulary.txt": (
            459_861,
            "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
        ),
    },
    licence="MIT",
    used_by="transcript: words and language, on a CPU",
)

_WHISPER_V3_FILES = {
    "preprocessor_config.json": (
        340,
        "7ccc62c6f2765af1f3b46c00c9b5894426835a05021c8b9c01eecb6dfb542711",
    ),
    "vocabulary.json": (
        1_068_114,
        "c69260f2ab26d659b7c398f9a2b2b48ed0df16c3b47d7326782fd9cba71690c1",
    ),
}

WHISPER_TURBO = from_hub(
    "whisper-large-v3-turbo",
    "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
    {
        "model.bin": (
            1_617_884_929,
            "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da",
        ),
        "config.json": (2_263, "b0253ea6c0d3bea6b1e19e91a02acfd3b53f4467362efcb5a3e6b16c9b3a9b7e"),
        "tokenizer.json": (
            2_710_337,
            "297b13372ac43916285644fb9687add3cc62ee2a1adb60da3dc25cc94c1871fd",
        ),
        **_WHISPER_V3_FILES,
    },
    licence="MIT",
    used_by="transcript: words and language, on a GPU, fast",
)

WHISPER_LARGE = from_hub(
    "whisper-large-v3",
    "Systran/faster-whisper-large-v3",
    "edaa852ec7e145841d8ffdb056a99866b5f0a478",
    {
        "model.bin": (
            3_087_284_237,
            "69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1",
        ),
        "config.json": (2_394, "a9306624f5ec14270a014b647e5c316b6e03a662c369758d1b90697a7b0655b9"),
        "tokenizer.json": (
            2_480_617,
            "6d8cbd7cd0d8d5815e478dac67b85a26bbe77c1f5e0c6d76d1ce2abc0e5f21ca",
        ),
        **_WHISPER_V3_FILES,
    },
    licence="MIT",
    used_by="transcript: words and language, on a GPU, best",
)

REGISTRY: tuple[Weights, ...] = (
    SYNCNET,
    LR_ASD,
    AESTHETIC,
    CLIP_VIT_L_14,
    WHISPER_SMALL,
    WHISPER_TURBO,
    WHISPER_LARGE,
)


def find_weights(name: str, registry: tuple[Weights, ...] = REGISTRY) -> Weights:
    """Find weights by name.

    Args:
        name: name of the entry.
        registry: where to look.

    Returns:
        The entry.

    Raises:
        StageError: there is none of that name; the message offers the nearest.
    """
    known = {weights.name: weights for weights in registry}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    offer = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise StageError(f"no weights are called {name!r}; {offer}")
