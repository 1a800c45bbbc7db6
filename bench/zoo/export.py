#!/usr/bin/env python3
"""Exports small random networks of torchvision, transformers and torch.nn to ONNX.

    python3 bench/zoo/export.py OUTDIR [NAME ...] [--variants legacy,dynamo,...] [--list]

Made with torch 2.15, torchvision 0.29, transformers 5.24, onnx 1.23 and
onnxscript 0.7; run it in an environment of its own that has them. OUTDIR gets,
for every network, NAME.safetensors (its parameters under their own names),
NAME.json (shapes of the parameters and the true figures of its attention
layers) and one NAME.VARIANT.onnx for each way to export it:

    legacy      TorchScript exporter, folded, sizes of batch and time free
    legacy_raw  the same, nothing folded or fused, sizes fixed
    dynamo      torch.export, optimized, sizes of batch and time free
    dynamo_raw  the same, not optimized, sizes fixed
    dynamo23    the same, optimized, opset 23 with its attention operators

A variant that an exporter refuses is noted in NAME.json. Seeds are fixed.
"""
import argparse, contextlib, copy, json, logging, os, sys, time, traceback, warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
import torch
from torch import nn

VARIANTS = ("legacy", "legacy_raw", "dynamo", "dynamo_raw", "dynamo23")
ZOO = {}
BATCH, TIME = "batch", "time"


def network(build):
    """Registers a function that returns (module, inputs, attention). Inputs are
    (name, tensor, {axis: BATCH or TIME}); attention is a list of
    {heads, kv_heads, head_dim, rope, packed}, in the order of the layers."""
    ZOO[build.__name__] = build
    return build


def attention(layers, heads, head_dim, kv_heads=None, rope=False, packed=False):
    return [dict(heads=heads, kv_heads=kv_heads or heads, head_dim=head_dim, rope=rope, packed=packed)] * layers


def image(side, channels=3):
    return [("image", torch.randn(2, channels, side, side), {0: BATCH})]


def tokens(vocabulary, time=7, name="input_ids"):
    return (name, torch.randint(3, vocabulary, (2, time)), {0: BATCH, 1: TIME})


def mask(time=7, name="attention_mask"):
    m = torch.ones(2, time, dtype=torch.int64)
    m[1, -2:] = 0
    return (name, m, {0: BATCH, 1: TIME})


class Pick(nn.Module):
    """The named fields of a transformers model's result, for named inputs."""

    def __init__(self, model, inputs, fields, **fixed):
        super().__init__()
        self.model, self.inputs, self.fields, self.fixed = model, inputs, fields, fixed

    def forward(self, *args):
        result = self.model(**dict(zip(self.inputs, args)), **self.fixed)
        return tuple(getattr(result, f) for f in self.fields)


def picked(model, inputs, *fields, **fixed):
    return Pick(model, [i[0] for i in inputs], fields or ("logits",), **fixed), inputs


# torchvision


def vision():
    import torchvision.models as models
    return models


@network
def resnet18():
    return vision().resnet18(num_classes=10), image(64), []


@network
def resnet50():
    from torchvision.models.resnet import Bottleneck, ResNet
    return ResNet(Bottleneck, [2, 2, 2, 2], num_classes=10, width_per_group=16), image(64), []


@network
def resnext50():
    from torchvision.models.resnet import Bottleneck, ResNet
    return ResNet(Bottleneck, [1, 2, 1, 1], num_classes=10, groups=8, width_per_group=4), image(64), []


@network
def mobilenet_v2():
    return vision().mobilenet_v2(num_classes=10, width_mult=0.35), image(64), []


@network
def mobilenet_v3():
    return vision().mobilenet_v3_small(num_classes=10, width_mult=0.5), image(64), []


@network
def efficientnet_b0():
    from torchvision.models.efficientnet import EfficientNet, MBConvConfig
    rows = [(1, 3, 1, 16, 8, 1), (6, 3, 2, 8, 16, 2), (6, 5, 2, 16, 24, 2), (4, 5, 1, 24, 32, 1)]
    return EfficientNet([MBConvConfig(*r) for r in rows], dropout=0.2, num_classes=10), image(64), []


@network
def densenet121():
    from torchvision.models import DenseNet
    return DenseNet(growth_rate=8, block_config=(3, 4, 2, 2), num_init_features=16, num_classes=10), image(64), []


@network
def vit_b_16():
    from torchvision.models import VisionTransformer
    m = VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=40, num_classes=10)
    return m, image(32), attention(2, 3, 8, packed=True)


@network
def swin_t():
    from torchvision.models import SwinTransformer
    m = SwinTransformer(patch_size=[4, 4], embed_dim=24, depths=[2, 2], num_heads=[3, 6], window_size=[4, 4], num_classes=10)
    return m, image(64), attention(2, 3, 8, packed=True) + attention(2, 6, 8, packed=True)


@network
def swin_v2():
    from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
    m = SwinTransformer(patch_size=[4, 4], embed_dim=24, depths=[2, 1], num_heads=[3, 6], window_size=[4, 4], num_classes=10,
                        block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)
    return m, image(64), attention(2, 3, 8, packed=True) + attention(1, 6, 8, packed=True)


@network
def maxvit():
    from torchvision.models import MaxVit
    m = MaxVit(input_size=(64, 64), stem_channels=16, partition_size=4, block_channels=[16, 24], block_layers=[1, 1], head_dim=8,
               stochastic_depth_prob=0.0, num_classes=10)
    return m, image(64), attention(2, 2, 8, packed=True) + attention(2, 3, 8, packed=True)


@network
def convnext_tiny():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    return ConvNeXt([CNBlockConfig(12, 24, 2), CNBlockConfig(24, 32, 2), CNBlockConfig(32, None, 1)], num_classes=10), image(64), []


@network
def regnet_y():
    from torchvision.models.regnet import BlockParams, RegNet
    p = BlockParams.from_init_params(depth=6, w_0=16, w_a=8.0, w_m=2.2, group_width=8, se_ratio=0.25)
    return RegNet(p, num_classes=10), image(64), []


@network
def regnet_x():
    from torchvision.models.regnet import BlockParams, RegNet
    p = BlockParams.from_init_params(depth=6, w_0=16, w_a=8.0, w_m=2.2, group_width=8)
    return RegNet(p, num_classes=10), image(64), []


@network
def shufflenet():
    from torchvision.models import ShuffleNetV2
    return ShuffleNetV2([2, 2, 2], [8, 16, 24, 32, 64], num_classes=10), image(64), []


@network
def mnasnet():
    return vision().mnasnet0_5(num_classes=10), image(64), []


@network
def googlenet():
    return vision().googlenet(num_classes=10, aux_logits=False, init_weights=False), image(64), []


@network
def inception_v3():
    return vision().inception_v3(num_classes=10, aux_logits=False, init_weights=False), image(96), []


@network
def squeezenet():
    return vision().squeezenet1_1(num_classes=10), image(64), []


@network
def vgg11():
    from torchvision.models.vgg import VGG, make_layers
    m = VGG(make_layers([8, "M", 16, "M", 24, 24, "M", 32, 32, "M"]), num_classes=10)
    m.classifier = nn.Sequential(nn.Linear(32 * 49, 40), nn.ReLU(True), nn.Dropout(), nn.Linear(40, 10))
    return m, image(112), []


@network
def vgg11_bn():
    from torchvision.models.vgg import VGG, make_layers
    m = VGG(make_layers([8, "M", 16, "M", 24, 24, "M"], batch_norm=True), num_classes=10)
    m.avgpool = nn.Identity()
    m.classifier = nn.Sequential(nn.Linear(24 * 16, 40), nn.ReLU(True), nn.Dropout(), nn.Linear(40, 10))
    return m, image(32), []


@network
def deeplab():
    from torchvision.models.resnet import BasicBlock, ResNet
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead
    body = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)
    layers = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool, body.layer1, body.layer2)

    class Deeplab(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = layers, DeepLabHead(128, 5, atrous_rates=(2, 4))

        def forward(self, x):
            return nn.functional.interpolate(self.head(self.body(x)), size=x.shape[-2:], mode="bilinear", align_corners=False)

    return Deeplab(), image(64), []


# transformers


def hf():
    import transformers
    return transformers


SMALL = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, vocab_size=97)


@network
def gpt2():
    t = hf()
    m = t.GPT2LMHeadModel(t.GPT2Config(vocab_size=97, n_positions=32, n_embd=24, n_layer=2, n_head=3, use_cache=False))
    return *picked(m, [tokens(97)]), attention(2, 3, 8, packed=True)


@network
def gpt2_eager():
    t = hf()
    c = t.GPT2Config(vocab_size=97, n_positions=32, n_embd=24, n_layer=2, n_head=3, use_cache=False, attn_implementation="eager")
    return *picked(t.GPT2LMHeadModel(c), [tokens(97), mask()]), attention(2, 3, 8, packed=True)


@network
def bert():
    t = hf()
    m = t.BertForMaskedLM(t.BertConfig(**SMALL, max_position_embeddings=32))
    return *picked(m, [tokens(97), mask()]), attention(2, 3, 8)


@network
def bert_classifier():
    t = hf()
    m = t.BertForSequenceClassification(t.BertConfig(**SMALL, max_position_embeddings=32, num_labels=4, attn_implementation="eager"))
    return *picked(m, [tokens(97), mask(), ("token_type_ids", torch.zeros(2, 7, dtype=torch.int64), {0: BATCH, 1: TIME})]), attention(2, 3, 8)


@network
def roberta():
    t = hf()
    m = t.RobertaForMaskedLM(t.RobertaConfig(**SMALL, max_position_embeddings=34))
    return *picked(m, [tokens(97), mask()]), attention(2, 3, 8)


@network
def distilbert():
    t = hf()
    m = t.DistilBertForSequenceClassification(t.DistilBertConfig(vocab_size=97, dim=24, n_layers=2, n_heads=3, hidden_dim=40, max_position_embeddings=32))
    return *picked(m, [tokens(97), mask()]), attention(2, 3, 8)


@network
def albert():
    t = hf()
    m = t.AlbertForMaskedLM(t.AlbertConfig(**SMALL, embedding_size=12, max_position_embeddings=32))
    return *picked(m, [tokens(97), mask()]), attention(2, 3, 8)


@network
def electra():
    t = hf()
    m = t.ElectraForPreTraining(t.ElectraConfig(**SMALL, embedding_size=12, max_position_embeddings=32))
    return *picked(m, [tokens(97), mask()]), attention(2, 3, 8)


@network
def deberta():
    t = hf()
    c = t.DebertaV2Config(**SMALL, max_position_embeddings=32, relative_attention=True, pos_att_type=["p2c", "c2p"], type_vocab_size=0)
    return *picked(t.DebertaV2ForMaskedLM(c), [tokens(97), mask()]), attention(2, 3, 8)


@network
def modernbert():
    t = hf()
    c = t.ModernBertConfig(**SMALL, max_position_embeddings=32, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)
    return *picked(t.ModernBertForMaskedLM(c), [tokens(97), mask()]), attention(2, 3, 8, rope=True, packed=True)


def causal(model, config, masked=True, **more):
    t = hf()
    size = {**SMALL, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, **more}
    c = getattr(t, config)(**size, max_position_embeddings=32, use_cache=False)
    return picked(getattr(t, model)(c), [tokens(97)] + [mask()] * masked)


@network
def llama():
    return *causal("LlamaForCausalLM", "LlamaConfig", head_dim=4), attention(2, 6, 4, 2, rope=True)


@network
def llama_eager():
    return *causal("LlamaForCausalLM", "LlamaConfig", head_dim=4, attn_implementation="eager", tie_word_embeddings=True), attention(2, 6, 4, 2, rope=True)


@network
def llama_mqa():
    return *causal("LlamaForCausalLM", "LlamaConfig", num_key_value_heads=1, masked=False), attention(2, 6, 8, 1, rope=True)


@network
def qwen2():
    return *causal("Qwen2ForCausalLM", "Qwen2Config", head_dim=4), attention(2, 6, 4, 2, rope=True)


@network
def qwen3():
    return *causal("Qwen3ForCausalLM", "Qwen3Config"), attention(2, 6, 8, 2, rope=True)


@network
def mistral():
    return *causal("MistralForCausalLM", "MistralConfig", sliding_window=4), attention(2, 6, 8, 2, rope=True)


@network
def gemma():
    return *causal("GemmaForCausalLM", "GemmaConfig", pad_token_id=0, bos_token_id=2, eos_token_id=1), attention(2, 6, 8, 2, rope=True)


@network
def gemma2():
    return *causal("Gemma2ForCausalLM", "Gemma2Config", pad_token_id=0, bos_token_id=2, eos_token_id=1, sliding_window=4, attn_implementation="eager"), \
        attention(2, 6, 8, 2, rope=True)


@network
def gemma3():
    return *causal("Gemma3ForCausalLM", "Gemma3TextConfig", pad_token_id=0, bos_token_id=2, eos_token_id=1, sliding_window=4), attention(2, 6, 8, 2, rope=True)


@network
def phi():
    return *causal("PhiForCausalLM", "PhiConfig", hidden_size=48, num_key_value_heads=6, partial_rotary_factor=0.5, pad_token_id=0,
                   bos_token_id=1, eos_token_id=2), attention(2, 6, 8, rope=True)


@network
def phi3():
    return *causal("Phi3ForCausalLM", "Phi3Config", head_dim=8, hidden_size=48, pad_token_id=0, bos_token_id=1, eos_token_id=2), \
        attention(2, 6, 8, 2, rope=True, packed=True)


@network
def mixtral():
    return *causal("MixtralForCausalLM", "MixtralConfig", num_local_experts=4, num_experts_per_tok=2), attention(2, 6, 8, 2, rope=True)


@network
def qwen2_moe():
    return *causal("Qwen2MoeForCausalLM", "Qwen2MoeConfig", hidden_size=48, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=20,
                   shared_expert_intermediate_size=28), attention(2, 6, 8, 2, rope=True)


@network
def olmo2():
    return *causal("Olmo2ForCausalLM", "Olmo2Config", hidden_size=48), attention(2, 6, 8, 2, rope=True)


@network
def gpt_neox():
    t = hf()
    c = t.GPTNeoXConfig(**SMALL, max_position_embeddings=32, rotary_pct=0.5, use_cache=False)
    return *picked(t.GPTNeoXForCausalLM(c), [tokens(97), mask()]), attention(2, 3, 8, rope=True, packed=True)


@network
def opt():
    t = hf()
    c = t.OPTConfig(vocab_size=97, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, ffn_dim=40, max_position_embeddings=32,
                    word_embed_proj_dim=24, use_cache=False)
    return *picked(t.OPTForCausalLM(c), [tokens(97), mask()]), attention(2, 3, 8)


@network
def bloom():
    t = hf()
    c = t.BloomConfig(vocab_size=97, hidden_size=24, n_layer=2, n_head=3, use_cache=False)
    return *picked(t.BloomForCausalLM(c), [tokens(97), mask()]), attention(2, 3, 8, packed=True)


@network
def falcon():
    t = hf()
    c = t.FalconConfig(vocab_size=97, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, use_cache=False, multi_query=True)
    return *picked(t.FalconForCausalLM(c), [tokens(97), mask()]), attention(2, 3, 8, 1, rope=True, packed=True)


@network
def mamba():
    t = hf()
    c = t.MambaConfig(vocab_size=97, hidden_size=24, num_hidden_layers=2, state_size=4, expand=2, use_cache=False)
    return *picked(t.MambaForCausalLM(c), [tokens(97), mask()]), []


@network
def t5():
    t = hf()
    c = t.T5Config(vocab_size=97, d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=3, use_cache=False, decoder_start_token_id=0)
    return *picked(t.T5ForConditionalGeneration(c), [tokens(97), mask(), tokens(97, 5, "decoder_input_ids")]), attention(6, 3, 8)


@network
def t5_gated():
    t = hf()
    c = t.T5Config(vocab_size=97, d_model=24, d_kv=8, d_ff=40, num_layers=1, num_heads=3, use_cache=False, decoder_start_token_id=0,
                   feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    return *picked(t.T5ForConditionalGeneration(c), [tokens(97), mask(), tokens(97, 5, "decoder_input_ids")]), attention(3, 3, 8)


@network
def bart():
    t = hf()
    c = t.BartConfig(vocab_size=97, d_model=24, encoder_layers=1, decoder_layers=1, encoder_attention_heads=3, decoder_attention_heads=3,
                     encoder_ffn_dim=40, decoder_ffn_dim=40, max_position_embeddings=32, use_cache=False, pad_token_id=1)
    return *picked(t.BartForConditionalGeneration(c), [tokens(97), mask(), tokens(97, 5, "decoder_input_ids")]), attention(3, 3, 8)


@network
def whisper():
    t = hf()
    c = t.WhisperConfig(vocab_size=97, num_mel_bins=16, d_model=24, encoder_layers=1, decoder_layers=1, encoder_attention_heads=3,
                        decoder_attention_heads=3, encoder_ffn_dim=40, decoder_ffn_dim=40, max_source_positions=20, max_target_positions=16,
                        use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, suppress_tokens=[], begin_suppress_tokens=[])
    sound = ("input_features", torch.randn(2, 16, 40), {0: BATCH})
    return *picked(t.WhisperForConditionalGeneration(c), [sound, tokens(97, 5, "decoder_input_ids")]), attention(3, 3, 8)


@network
def wav2vec2():
    t = hf()
    c = t.Wav2Vec2Config(**SMALL, conv_dim=(16, 16), conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2,
                         num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2)
    return *picked(t.Wav2Vec2ForCTC(c), [("input_values", torch.randn(2, 400), {0: BATCH})]), attention(2, 3, 8)


@network
def vit_hf():
    t = hf()
    small = {k: v for k, v in SMALL.items() if k != "vocab_size"}
    m = t.ViTForImageClassification(t.ViTConfig(**small, image_size=32, patch_size=8, num_labels=10))
    return *picked(m, [("pixel_values", torch.randn(2, 3, 32, 32), {0: BATCH})]), attention(2, 3, 8)


@network
def dinov2():
    t = hf()
    m = t.Dinov2ForImageClassification(t.Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, mlp_ratio=2, image_size=32, patch_size=8, num_labels=10))
    return *picked(m, [("pixel_values", torch.randn(2, 3, 32, 32), {0: BATCH})]), attention(2, 3, 8)


@network
def segformer():
    t = hf()
    c = t.SegformerConfig(num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[16, 24], patch_sizes=[7, 3], strides=[4, 2],
                          num_attention_heads=[2, 3], mlp_ratios=[2, 2], decoder_hidden_size=20, num_labels=5)
    return *picked(t.SegformerForSemanticSegmentation(c), [("pixel_values", torch.randn(2, 3, 64, 64), {0: BATCH})]), attention(1, 2, 8) + attention(1, 3, 8)


@network
def clip():
    t = hf()
    text = dict(SMALL, max_position_embeddings=16, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    sight = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=32, patch_size=8)
    m = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=sight, projection_dim=20))
    inputs = [tokens(97), ("pixel_values", torch.randn(2, 3, 32, 32), {0: BATCH}), mask()]
    return *picked(m, inputs, "logits_per_image", "text_embeds", "image_embeds"), attention(2, 4, 8) + attention(2, 3, 8)


# torch.nn


@network
def mlp():
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 16), nn.GELU(), nn.Linear(16, 4)), [("x", torch.randn(2, 12), {0: BATCH})], []


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.rnn = kind(10, 12, num_layers=2, batch_first=True, **options)
        self.out = nn.Linear(24 if options.get("bidirectional") else 12, 5)

    def forward(self, x):
        return self.out(self.rnn(x)[0])


def series():
    return [("x", torch.randn(2, 6, 10), {0: BATCH})]


@network
def lstm():
    return Recurrent(nn.LSTM), series(), []


@network
def lstm_both():
    return Recurrent(nn.LSTM, bidirectional=True), series(), []


@network
def gru():
    return Recurrent(nn.GRU), series(), []


@network
def gru_both():
    return Recurrent(nn.GRU, bidirectional=True), series(), []


@network
def rnn():
    return Recurrent(nn.RNN), series(), []


@network
def lstm_tagger():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.rnn, self.out = nn.Embedding(50, 10), nn.LSTM(10, 12, batch_first=True), nn.Linear(12, 5)

        def forward(self, ids):
            return self.out(self.rnn(self.embed(ids))[1][0][-1])

    return Tagger(), [tokens(50, 6)], []


@network
def cells():
    class Cells(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = nn.LSTMCell(10, 12), nn.Linear(12, 5)

        def forward(self, x):
            h = c = x.new_zeros(x.shape[0], 12)
            for i in range(3):
                h, c = self.cell(x[:, i], (h, c))
            return self.out(h)

    return Cells(), [("x", torch.randn(2, 3, 10), {0: BATCH})], []


@network
def multihead():
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp, self.mha, self.out = nn.Linear(10, 24), nn.MultiheadAttention(24, 3, batch_first=True), nn.Linear(24, 5)

        def forward(self, x):
            h = self.inp(x)
            return self.out(h + self.mha(h, h, h, need_weights=False)[0])

    return Attend(), series(), attention(1, 3, 8, packed=True)


@network
def multihead_cross():
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.mha, self.out = nn.MultiheadAttention(24, 3, kdim=14, vdim=14, batch_first=True), nn.Linear(24, 5)
            self.inp = nn.Linear(10, 24)

        def forward(self, x, y):
            h, weights = self.mha(self.inp(x), y, y)
            return self.out(h), weights

    return Attend(), series() + [("y", torch.randn(2, 4, 14), {0: BATCH})], attention(1, 3, 8)


@network
def encoder():
    class Encode(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp, self.out = nn.Linear(10, 24), nn.Linear(24, 5)
            self.body = nn.TransformerEncoder(nn.TransformerEncoderLayer(24, 3, 40, batch_first=True), 2, enable_nested_tensor=False)

        def forward(self, x):
            return self.out(self.body(self.inp(x)).mean(1))

    return Encode(), series(), attention(2, 3, 8, packed=True)


@network
def transformer():
    class Translate(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp, self.out = nn.Linear(10, 24), nn.Linear(24, 5)
            self.body = nn.Transformer(24, 3, 1, 1, 40, batch_first=True, norm_first=True)

        def forward(self, x, y):
            return self.out(self.body(self.inp(x), self.inp(y)))

    return Translate(), series() + [("y", torch.randn(2, 4, 10), {0: BATCH})], attention(3, 3, 8, packed=True)


@network
def einsum_attention():
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            for name in "qkv":
                setattr(self, name, nn.Linear(10, 24, bias=False))
            self.out = nn.Linear(24, 5)

        def forward(self, x):
            q, k, v = (getattr(self, n)(x).unflatten(-1, (3, 8)) for n in "qkv")
            p = torch.einsum("bihd,bjhd->bhij", q, k).div(8**0.5).softmax(-1)
            return self.out(torch.einsum("bhij,bjhd->bihd", p, v).flatten(-2))

    return Attend(), series(), attention(1, 3, 8)


@network
def single_head():
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.out = nn.Linear(10, 12), nn.Linear(10, 12), nn.Linear(10, 16), nn.Linear(16, 5)

        def forward(self, x):
            return self.out((self.q(x) @ self.k(x).transpose(1, 2) / 3.5).softmax(-1) @ self.v(x))

    return Attend(), series(), attention(1, 1, 12)


class Double(nn.Sequential):
    def __init__(self, a, b):
        super().__init__(nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(4, b), nn.SiLU(), nn.Conv2d(b, b, 3, padding=1), nn.GroupNorm(4, b), nn.SiLU())


@network
def unet():
    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = Double(3, 8), Double(8, 16), Double(16, 24)
            self.up1, self.d1 = nn.ConvTranspose2d(24, 16, 2, 2), Double(32, 16)
            self.up2, self.d2 = nn.ConvTranspose2d(16, 8, 2, 2), Double(16, 8)
            self.out = nn.Conv2d(8, 2, 1)

        def forward(self, x):
            a = self.a(x)
            b = self.b(nn.functional.max_pool2d(a, 2))
            c = self.c(nn.functional.max_pool2d(b, 2))
            b = self.d1(torch.cat([b, self.up1(c)], 1))
            return self.out(self.d2(torch.cat([self.up2(b), a], 1)))

    return UNet(), image(32), []


@network
def grouped():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 1), nn.PReLU(24), nn.Conv2d(24, 32, 3, groups=4), nn.ReLU(), nn.Conv2d(32, 64, 3, groups=32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 5)), image(16), []


@network
def flatten():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 25, 20), nn.ReLU(),
                         nn.Linear(20, 5)), image(16), []


@network
def conv1d():
    return nn.Sequential(nn.Conv1d(4, 8, 5, padding=2), nn.BatchNorm1d(8), nn.LeakyReLU(), nn.Conv1d(8, 24, 3, dilation=2), nn.GLU(1), nn.AvgPool1d(2),
                         nn.Flatten(), nn.Linear(12 * 10, 5)), [("x", torch.randn(2, 4, 24), {0: BATCH})], []


@network
def superres():
    return nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.Tanh(), nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.PixelShuffle(2),
                         nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(8, 1, 3)), image(12, 1), []


@network
def squeeze_excite():
    class Gate(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.down, self.up = nn.Linear(c, 4), nn.Linear(4, c)

        def forward(self, x):
            return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))[:, :, None, None]

    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), Gate(16), nn.Conv2d(16, 12, 3), Gate(12), nn.AdaptiveMaxPool2d(1), nn.Flatten(1), nn.Linear(12, 5)), image(16), []


@network
def tied_autoencoder():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.ParameterList([nn.Parameter(torch.randn(20, 30) * 0.2), nn.Parameter(torch.randn(12, 20) * 0.2)])
            self.bias = nn.ParameterList([nn.Parameter(torch.randn(n) * 0.2) for n in (20, 12, 20, 30)])

        def forward(self, x):
            f = nn.functional.linear
            h = torch.tanh(f(x, self.weight[0], self.bias[0]))
            h = torch.tanh(f(h, self.weight[1], self.bias[1]))
            h = torch.tanh(f(h, self.weight[1].t(), self.bias[2]))
            return f(h, self.weight[0].t(), self.bias[3])

    return Tied(), [("x", torch.randn(2, 30), {0: BATCH})], []


@network
def vae():
    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 4, 2, 1), nn.ReLU(), nn.Flatten())
            self.mean, self.spread, self.fc = nn.Linear(12 * 16, 6), nn.Linear(12 * 16, 6), nn.Linear(6, 12 * 16)
            self.up = nn.Sequential(nn.ConvTranspose2d(12, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1))

        def forward(self, x):
            h = self.down(x)
            m, s = self.mean(h), self.spread(h)
            return self.up(self.fc(m + 0.1 * torch.exp(s)).view(-1, 12, 4, 4)), m, s

    return VAE(), image(16, 1), []


@network
def outputs():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(nn.Linear(10, 24), nn.LayerNorm(24), nn.GELU())
            self.policy, self.value, self.skip = nn.Linear(24, 6), nn.Sequential(nn.Linear(24, 12), nn.Tanh(), nn.Linear(12, 1)), nn.Linear(24, 24)

        def forward(self, x):
            h = self.trunk(x)
            return self.policy(h), self.value(h), nn.functional.normalize(self.skip(h) + h, dim=-1)

    return Heads(), [("x", torch.randn(2, 10), {0: BATCH})], []


@network
def mixture():
    class Mixture(nn.Module):
        """Every expert computed, the best two of each sample summed."""

        def __init__(self):
            super().__init__()
            self.gate, self.out = nn.Linear(10, 4), nn.Linear(8, 5)
            self.up, self.down = nn.Parameter(torch.randn(4, 10, 12) * 0.3), nn.Parameter(torch.randn(4, 12, 8) * 0.3)

        def forward(self, x):
            weight, chosen = self.gate(x).softmax(-1).topk(2)
            up, down = self.up[chosen], self.down[chosen]
            h = torch.relu(torch.einsum("bi,bkih->bkh", x, up))
            return self.out((torch.einsum("bkh,bkho->bko", h, down) * weight[..., None]).sum(1))

    return Mixture(), [("x", torch.randn(2, 10), {0: BATCH})], []


@network
def mixer():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.n1, self.n2 = nn.LayerNorm(16), nn.LayerNorm(16)
            self.tokens = nn.Sequential(nn.Linear(16, 20), nn.GELU(), nn.Linear(20, 16))
            self.channels = nn.Sequential(nn.Linear(16, 28), nn.GELU(), nn.Linear(28, 16))

        def forward(self, x):
            x = x + self.tokens(self.n1(x).transpose(1, 2)).transpose(1, 2)
            return x + self.channels(self.n2(x))

    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.blocks, self.out = nn.Conv2d(3, 16, 4, 4), nn.Sequential(Block(), Block()), nn.Linear(16, 5)

        def forward(self, x):
            return self.out(self.blocks(self.patch(x).flatten(2).transpose(1, 2)).mean(1))

    return Mixer(), image(16), []


@network
def normed():
    from torch.nn.utils.parametrizations import weight_norm
    return nn.Sequential(weight_norm(nn.Linear(10, 16)), nn.ELU(), nn.LayerNorm(16, bias=False), weight_norm(nn.Linear(16, 12)), nn.Softplus(), nn.RMSNorm(12), nn.Linear(12, 5)), \
        [("x", torch.randn(2, 10), {0: BATCH})], []


# Exporting


def randomized(module):
    """Values of parameters that are all 0 or all 1, as norms and biases start,
    would let a wrong graph pass: they are drawn, too."""
    gen = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in list(module.named_parameters()) + list(module.named_buffers()):
            if p.is_floating_point() and p.numel() > 1 and bool((p == p.flatten()[0]).all()):
                noise = torch.rand(p.shape, generator=gen) * 0.4
                p.add_(noise if "running_var" in name else noise - 0.2)
    return module.eval()


def free_axes(inputs):
    return {name: axes for name, _, axes in inputs if axes}


def export(variant, module, inputs, path):
    args = tuple(t for _, t, _ in inputs)
    names = [name for name, _, _ in inputs]
    common = dict(input_names=names)
    if variant.startswith("legacy"):
        raw = variant == "legacy_raw"
        common |= dict(dynamo=False, opset_version=17, do_constant_folding=not raw)
        if raw:
            common |= dict(training=torch.onnx.TrainingMode.PRESERVE)
        else:
            common |= dict(dynamic_axes={n: {k: f"{v}_{n}" if v == TIME else v for k, v in a.items()} for n, a in free_axes(inputs).items()})
        torch.onnx.export(module, args, path, **common)
        return
    common |= dict(dynamo=True, opset_version=23 if variant == "dynamo23" else 18, optimize=variant != "dynamo_raw", external_data=False)
    if variant != "dynamo_raw":
        variadic = isinstance(module, Pick)
        shapes = tuple({k: torch.export.Dim.AUTO for k in axes} for _, _, axes in inputs)
        common |= dict(dynamic_shapes=(shapes,) if variadic else shapes)
    torch.onnx.export(module, args, path, verbose=False, **common)


@contextlib.contextmanager
def silence():
    """Exporters print whole graphs, from C++ too, when they fail."""
    sys.stdout.flush()
    kept = os.dup(1), os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1), os.dup2(null, 2)
    try:
        yield
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os.dup2(kept[0], 1), os.dup2(kept[1], 2)
        for fd in (*kept, null):
            os.close(fd)


def one(name, outdir, variants):
    from safetensors.torch import save_file
    torch.manual_seed(1)
    module, inputs, truth = ZOO[name]()
    module = randomized(module)
    named = {n.removeprefix("model.") if isinstance(module, Pick) else n: p for n, p in module.named_parameters()}
    save_file({n: p.detach().clone().contiguous() for n, p in named.items()}, os.path.join(outdir, name + ".safetensors"))
    info = dict(name=name, parameters={n: list(p.shape) for n, p in named.items()}, attention=truth, exports={})
    about = os.path.join(outdir, name + ".json")
    if os.path.exists(about):
        with open(about) as f:
            info["exports"] = json.load(f)["exports"]  # of variants made before
    for variant in variants:
        path, start = os.path.join(outdir, f"{name}.{variant}.onnx"), time.time()
        try:
            with silence(), torch.no_grad():
                export(variant, copy.deepcopy(module), inputs, path)
            info["exports"][variant] = "ok"
        except Exception as e:
            text = [line for line in str(e).strip().splitlines() if line.strip()]
            info["exports"][variant] = f"{type(e).__name__}: {text[0] if text else ''}"[:200]
            if os.path.exists(path):
                os.remove(path)
        print(f"{name} {variant}: {info['exports'][variant]} ({time.time() - start:.1f} s)", flush=True)
    with open(about, "w") as f:
        json.dump(info, f, indent=1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("outdir", nargs="?")
    p.add_argument("names", nargs="*")
    p.add_argument("--variants", default=",".join(VARIANTS))
    p.add_argument("--list", action="store_true")
    a = p.parse_args()
    if a.list:
        return print("\n".join(ZOO))
    if not a.outdir:
        p.error("OUTDIR is missing")
    if unknown := [n for n in a.names if n not in ZOO]:
        p.error(f"no network {unknown[0]!r}; --list names them")
    os.makedirs(a.outdir, exist_ok=True)
    torch.set_num_threads(1)
    for name in a.names or ZOO:
        try:
            one(name, a.outdir, a.variants.split(","))
        except Exception:
            print(f"{name}: cannot be built", flush=True)
            traceback.print_exc()


if __name__ == "__main__":
    main()
