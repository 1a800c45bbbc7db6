"""Writes small tokenizers of the SentencePiece kind and what the reference
implementations make of strings that tokenizers stumble over.

    python make.py TEXT     needs sentencepiece, tokenizers
"""
import json
import sys

import sentencepiece
import tokenizers

TEXTS = [
    "Hello world", "  leading spaces", "trailing spaces  ", "a  b   c", "   ", "", "I'm you're we'll they've he'd",
    "tabs\tand\nnewlines\n\n  x", "naïve café — “quotes”", "日本語テキスト", "emoji 👩‍👩‍👧 🚀", "123456 3.14 1,000", "a" * 60,
    "\u00a0nbsp", "mixed123abc!!??", "\r\n\r\n", "x\u200by", "\x00\x01", "ﬁsh and ﬂesh Ａ\u3000Ｂ", "▁already ▁▁there",
    "call <me> Ishmael<me>", "Some years ago, never mind how long precisely, having little or no money in my purse.",
]

rules = [("ﬁ", "fi"), ("ﬂ", "fl"), ("Ａ", "A"), ("Ｂ", "B"), ("\u3000", " "), ("\t", " "), ("\n", " "), ("é", "e\u0301"), ("…", "...")]
with open("rules.tsv", "w") as f:
    for a, b in rules:
        f.write(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n")


def train(file, **settings):
    with open(file, "wb") as out:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(open(sys.argv[1])), model_writer=out, minloglevel=2, **settings)


train("bpe.model", model_type="bpe", vocab_size=450, byte_fallback=True, user_defined_symbols=["<me>"],
      normalization_rule_name="identity", remove_extra_whitespaces=False)
train("unigram.model", model_type="unigram", vocab_size=260, normalization_rule_tsv="rules.tsv")


def pieces(file):
    """Piece, score and whether it is text, of every token."""
    p = sentencepiece.SentencePieceProcessor(model_file=file)
    return [(p.id_to_piece(i), p.get_score(i), not (p.is_unknown(i) or p.is_control(i) or p.is_byte(i) or p.id_to_piece(i) == "<me>"))
            for i in range(p.get_piece_size())]


added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
         for i, t in enumerate(["<unk>", "<s>", "</s>"])]
frame = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "post_processor": None, "decoder": None}

# Llama 2's form of a BPE.
all_pieces = pieces("bpe.model")
ids = {p: i for i, (p, _, _) in enumerate(all_pieces)}
merges = []
for p, score, kind in sorted((x for x in all_pieces if x[2]), key=lambda x: -x[1]):
    for cut in range(1, len(p)):
        if p[:cut] in ids and p[cut:] in ids:
            merges.append(f"{p[:cut]} {p[cut:]}")
with open("llama.json", "w") as f:
    json.dump(frame | {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None,
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": ids, "merges": merges},
    }, f, ensure_ascii=False)

# T5's form of a Unigram.
with open("t5.json", "w") as f:
    json.dump(frame | {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}]},
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [[p, s] for p, s, _ in pieces("unigram.model")]},
    }, f, ensure_ascii=False)

# BPE of bytes, in the forms of Qwen and DeepSeek (steps that cut one after the other) and of RoBERTa (a space in front).
pre = tokenizers.pre_tokenizers
for name, normalizer, steps in [
    ("steps.json", tokenizers.normalizers.NFC(), pre.Sequence([
        pre.Digits(individual_digits=True), pre.Split(tokenizers.Regex(r"[\u4e00-\u9fa5\u3040-\u30ff]+"), "isolated"),
        pre.Split(tokenizers.Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\s+(?!\S)|\s+"), "isolated"), pre.ByteLevel(add_prefix_space=False, use_regex=False)])),
    ("prefix.json", None, pre.ByteLevel(add_prefix_space=True)),
]:
    t = tokenizers.Tokenizer(tokenizers.models.BPE())
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = steps
    t.train_from_iterator(open(sys.argv[1]), tokenizers.trainers.BpeTrainer(vocab_size=330, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False))
    t.save(name, pretty=False)

out = {"texts": TEXTS}
for name in ["bpe.model", "unigram.model"]:
    p = sentencepiece.SentencePieceProcessor(model_file=name)
    out[name] = [p.encode(t) for t in TEXTS]
for name in ["llama.json", "t5.json", "steps.json", "prefix.json"]:
    t = tokenizers.Tokenizer.from_file(name)
    out[name] = [t.encode(x, add_special_tokens=False).ids for x in TEXTS]
with open("reference.json", "w") as f:
    json.dump(out, f, ensure_ascii=False, indent=None, separators=(",", ":"))
