"""Writes what TestReadPEFT compares with: a small network, an adapter of PEFT's with
random weights, an input, and the output of the network with the adapter.

    python make.py     needs torch, onnx, onnxscript, peft, safetensors
"""
import json

import onnx
import peft
import torch
from safetensors.torch import save_file
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.grouped = nn.Conv2d(4, 4, 3, stride=2, groups=2)
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 6, bias=False)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = torch.relu(self.grouped(torch.relu(self.conv(x))))
        x = torch.relu(self.fc1(x.mean((2, 3))))
        return self.head(torch.tanh(self.fc2(x)))


torch.manual_seed(1)
net = Network().eval()
x = torch.randn(2, 2, 5, 5)
torch.onnx.export(net, (x,), "base.onnx", input_names=["x"], output_names=["y"], dynamo=False)
m = onnx.load("base.onnx")
for n in m.graph.node:
    n.doc_string = ""
    del n.metadata_props[:]
onnx.save(m, "base.onnx")

config = peft.LoraConfig(
    r=2, lora_alpha=6, target_modules=["conv", "grouped", "fc1", "fc2"], modules_to_save=["head"],
    rank_pattern={"fc2": 3}, alpha_pattern={"fc[2-9]": 12}, init_lora_weights=False,
)
tuned = peft.get_peft_model(net, config).eval()
with torch.no_grad():
    for name, p in tuned.named_parameters():
        if "modules_to_save" in name:
            p += 0.1 * torch.randn_like(p)
    y = tuned(x)
tuned.save_pretrained("adapter")
with open("adapter/adapter_config.json") as f:
    c = json.load(f)
c["target_modules"] = sorted(c["target_modules"])
c["base_model_name_or_path"] = None
with open("adapter/adapter_config.json", "w") as f:
    json.dump(c, f, indent=1, sort_keys=True)
save_file({"x": x, "y": y}, "reference.safetensors")
