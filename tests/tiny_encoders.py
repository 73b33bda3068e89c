"""Random encoders of every family, small enough to be trained in a moment."""

from functools import partial

import torch
import transformers as hf
from transformers.models.vit import ViTImageProcessorPil

PIXELS = 32
VOCABULARY = 141
"""Of the tokenizer of the tiny text encoder."""
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
WORDS = {"vocab_size": VOCABULARY, "pad_token_id": 0}
POSITIONS = {"max_position_embeddings": 64}
BERT = {**SIZES, **WORDS, **POSITIONS}
ROBERTA = {**BERT, "max_position_embeddings": 65}
ENDS = {"bos_token_id": 2, "eos_token_id": 3}
DECODER = {**BERT, **ENDS, "num_key_value_heads": 2, "head_dim": 8}
DECODER_OF_BYTES = {
    "vocab_size": 257,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 200,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
T5 = {**WORDS, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48, "d_kv": 8}
TOWER = {**BERT, **ENDS}
VIT = {**SIZES, "image_size": PIXELS, "patch_size": 8}
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}
FOUR_STAGES = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
HEADS = {"num_attention_heads": [1, 1, 2, 2]}
WINDOWS = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}


def both_towers(kind, text=None, vision=None):
    return kind(text_config={**TOWER, **(text or {})}, vision_config={**VIT, **(vision or {})})


TOWERS = {
    "clip": lambda: both_towers(hf.CLIPConfig),
    "siglip": lambda: both_towers(hf.SiglipConfig, {"projection_size": 32}),
    "siglip2": lambda: both_towers(
        hf.Siglip2Config, {"projection_size": 32}, {"num_patches": 16, "image_size": None}
    ),
}
TEXTS = {
    "bert": lambda: hf.BertConfig(**BERT),
    "roberta": lambda: hf.RobertaConfig(**ROBERTA),
    "xlm-roberta": lambda: hf.XLMRobertaConfig(**ROBERTA),
    "camembert": lambda: hf.CamembertConfig(**ROBERTA),
    "distilbert": lambda: hf.DistilBertConfig(
        **WORDS, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=64
    ),
    "albert": lambda: hf.AlbertConfig(**BERT, embedding_size=16),
    "electra": lambda: hf.ElectraConfig(**BERT, embedding_size=16),
    "deberta": lambda: hf.DebertaConfig(
        **BERT, relative_attention=True, pos_att_type=["c2p", "p2c"], position_biased_input=False
    ),
    "deberta-v2": lambda: hf.DebertaV2Config(
        **BERT,
        relative_attention=True,
        position_buckets=8,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
    ),
    "mpnet": lambda: hf.MPNetConfig(**ROBERTA),
    "modernbert": lambda: hf.ModernBertConfig(
        **BERT, **ENDS, cls_token_id=2, sep_token_id=3, global_attn_every_n_layers=2
    ),
    "nomic_bert": lambda: hf.NomicBertConfig(**BERT),
    "ernie": lambda: hf.ErnieConfig(**BERT),
    "roformer": lambda: hf.RoFormerConfig(**BERT),
    "convbert": lambda: hf.ConvBertConfig(**BERT, embedding_size=16),
    "xlnet": lambda: hf.XLNetConfig(**WORDS, d_model=32, n_layer=2, n_head=4, d_inner=48),
    "t5": lambda: hf.T5Config(**T5),
    "mt5": lambda: hf.MT5Config(**T5),
    "gpt2": lambda: hf.GPT2Config(**WORDS, **ENDS, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "opt": lambda: hf.OPTConfig(
        **WORDS,
        **ENDS,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    ),
    "llama": lambda: hf.LlamaConfig(**DECODER),
    "mistral": lambda: hf.MistralConfig(**DECODER),
    "qwen2": lambda: hf.Qwen2Config(**DECODER),
    "qwen3": lambda: hf.Qwen3Config(**DECODER),
    "gemma3_text": lambda: hf.Gemma3TextConfig(**DECODER),
    "clip_text_model": TOWERS["clip"],
    "siglip_text_model": TOWERS["siglip"],
    "siglip2_text_model": TOWERS["siglip2"],
}
"""Type -> function that makes a tiny configuration of it, or of a model that has such a tower."""
IMAGES = {
    "vit": lambda: hf.ViTConfig(**VIT),
    "deit": lambda: hf.DeiTConfig(**VIT),
    "beit": lambda: hf.BeitConfig(**VIT),
    "data2vec-vision": lambda: hf.Data2VecVisionConfig(**VIT),
    "vit_msn": lambda: hf.ViTMSNConfig(**VIT),
    "vit_mae": lambda: hf.ViTMAEConfig(**VIT, mask_ratio=0.75),
    "ijepa": lambda: hf.IJepaConfig(**VIT),
    "dinov2": lambda: hf.Dinov2Config(**VIT),
    "dinov2_with_registers": lambda: hf.Dinov2WithRegistersConfig(**VIT),
    "dinov3_vit": lambda: hf.DINOv3ViTConfig(**VIT, num_register_tokens=2),
    "dinov3_convnext": lambda: hf.DINOv3ConvNextConfig(**FOUR_STAGES),
    "clip_vision_model": TOWERS["clip"],
    "siglip_vision_model": TOWERS["siglip"],
    "siglip2_vision_model": TOWERS["siglip2"],
    "swin": lambda: hf.SwinConfig(image_size=PIXELS, **WINDOWS),
    "swinv2": lambda: hf.Swinv2Config(image_size=PIXELS, **WINDOWS),
    "hiera": lambda: hf.HieraConfig(
        image_size=[PIXELS, PIXELS],
        embed_dim=8,
        depths=[1, 1],
        num_heads=[1, 2],
        num_query_pool=1,
        query_stride=[2, 2],
        masked_unit_size=[4, 4],
    ),
    "focalnet": lambda: hf.FocalNetConfig(
        image_size=PIXELS, embed_dim=8, depths=[1, 1], hidden_sizes=[8, 16]
    ),
    "convnext": lambda: hf.ConvNextConfig(**STAGES),
    "convnextv2": lambda: hf.ConvNextV2Config(**STAGES),
    "resnet": lambda: hf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    ),
    "regnet": lambda: hf.RegNetConfig(embedding_size=8, groups_width=8, **FOUR_STAGES),
    "efficientnet": lambda: hf.EfficientNetConfig(
        image_size=PIXELS, width_coefficient=0.25, depth_coefficient=0.25, hidden_dim=320
    ),
    "mobilenet_v1": lambda: hf.MobileNetV1Config(image_size=PIXELS, depth_multiplier=0.25),
    "mobilenet_v2": lambda: hf.MobileNetV2Config(image_size=PIXELS, depth_multiplier=0.25),
    "mobilevit": lambda: hf.MobileViTConfig(
        image_size=PIXELS, hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 24]
    ),
    "mobilevitv2": lambda: hf.MobileViTV2Config(
        image_size=PIXELS, width_multiplier=0.25, output_stride=16
    ),
    "segformer": lambda: hf.SegformerConfig(**FOUR_STAGES, **HEADS),
    "pvt_v2": lambda: hf.PvtV2Config(**FOUR_STAGES, **HEADS),
    "poolformer": lambda: hf.PoolFormerConfig(**FOUR_STAGES),
}
"""The same for images; all see 32 pixels in both directions."""
TIMM = {
    "test_vit": {"img_size": PIXELS, "patch_size": 8},
    "test_resnet": {"output_stride": 8},
    "test_efficientnet": {"output_stride": 8},
    "test_convnext": {"output_stride": 8},
    "swin_tiny_patch4_window7_224": {
        "img_size": PIXELS,
        "embed_dim": 8,
        "depths": [1, 2],
        "num_heads": [1, 2],
        "window_size": 2,
    },
}
"""Architecture of timm -> arguments that make it tiny, and let it have several tokens."""


def timm_config(architecture):
    """Return a configuration of timm, for squares that are not cropped."""
    squares = {"input_size": [3, PIXELS, PIXELS], "crop_mode": "squash", "crop_pct": 1.0}
    arguments = TIMM[architecture]
    return hf.TimmWrapperConfig(
        architecture=architecture, model_args=arguments, pretrained_cfg=squares
    )


IMAGES_OF_TIMM = {name: partial(timm_config, name) for name in TIMM}
IMAGE_CLASSIFIERS = (
    "vit",
    "beit",
    "data2vec-vision",
    "vit_msn",
    "dinov2",
    "dinov2_with_registers",
    "clip_vision_model",
    "siglip_vision_model",
    "swin",
    "swinv2",
    "focalnet",
    "convnext",
    "convnextv2",
    "resnet",
    "regnet",
    "efficientnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilevit",
    "mobilevitv2",
    "pvt_v2",
)
"""Types whose published checkpoints may name objects."""


def save(config, folder, tokenizer=None):
    """Save a random model, its tokenizer if it reads texts, and an image processor."""
    torch.manual_seed(1)
    randomized(hf.AutoModel.from_config(config)).save_pretrained(folder)
    if tokenizer is not None:
        hf.AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    size = {"height": PIXELS, "width": PIXELS}
    ViTImageProcessorPil(size=size).save_pretrained(folder)


def save_classifier(config, folder):
    """Save and return a random classifier of images with 7 objects."""
    torch.manual_seed(1)
    config.id2label = {number: f"thing {number}" for number in range(7)}
    config.label2id = {name: number for number, name in config.id2label.items()}
    model = randomized(hf.AutoModelForImageClassification.from_config(config))
    normalize(model)
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def normalize(model):
    """Let batch normalisation have the statistics of some images: values would vanish otherwise."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    pixels = torch.randn(8, 3, PIXELS, PIXELS) + torch.randn(8, 1, 1, 1)
    model.train()(pixel_values=pixels)
    model.eval()


@torch.no_grad()
def randomized(model):
    """Return a model whose tokens differ from each other: usual weights are small for that."""
    for weight in model.parameters():
        if weight.ndim > 1:
            fan_in = weight[0].numel()
            weight.normal_(std=(2 / fan_in) ** 0.5)
        elif weight.requires_grad:
            weight.add_(0.1 * torch.randn_like(weight))
    return model.eval()
