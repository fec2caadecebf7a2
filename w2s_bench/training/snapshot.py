"""Objects as bytes and JSON, and back: what they share is shared again, and nothing is run while they are read.

Numbers, texts, lists and dictionaries go into a tree for JSON; of tensors and arrays it has the shape, while their
memory goes into named tensors of bytes. Two tensors on one memory are so again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Root = Tensor | torch.Generator
"""What is there before and after: it is filled in place, so that all who know it see what was saved."""


class Unsaved(Exception):
    """A value is of a kind that is not saved; the message names it."""


def pack(roots: Mapping[str, Root], value: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns a tree for JSON and the bytes that belong to it, of a value and of roots that it may refer to.

    Raises:
        Unsaved: There is something in it beside tensors without gradients, arrays, generators, numbers, texts, None,
            and lists, tuples and dictionaries of these.
    """
    packer = _Packer()
    tree = {"roots": {name: packer(root, name) for name, root in roots.items()}, "value": packer(value, "state")}
    packer.check()
    return tree, packer.tensors


def unpack(tree: dict[str, Any], tensors: dict[str, Tensor], roots: Mapping[str, Root]) -> tuple[Any, Callable]:
    """Returns the value, and what fills the roots; nothing is changed before that is called.

    Raises:
        ValueError: The roots are not of the names and shapes of those that were packed.
    """
    unpacker = _Unpacker(tensors)
    if sorted(tree["roots"]) != sorted(roots):
        raise ValueError("it has other weights")
    for name, node in tree["roots"].items():
        unpacker.adopt(name, node, roots[name])
    return unpacker(tree["value"]), unpacker.fill


class _Packer:
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.storages: dict[tuple[str, int, int], str] = {}
        self.numbers: dict[int, int] = {}
        """Of objects that may be met again, by their id."""
        self.alive: list[Any] = []
        """These objects: the id of one that is gone is given to the next."""
        self.spans: list[tuple[int, int, str]] = []
        """Where memory begins and ends, and whose it is."""

    def __call__(self, value: Any, where: str) -> Any:
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind is tuple:
            return {"tuple": [self(v, f"{where}[{i}]") for i, v in enumerate(value)]}
        if isinstance(value, np.generic) and value.dtype.kind in "biufcU":
            return {"scalar": value.dtype.str, "hex": value.tobytes().hex()}
        if id(value) in self.numbers:
            return {"same": self.numbers[id(value)]}
        number = self.numbers[id(value)] = len(self.alive)
        self.alive.append(value)
        if kind is list:
            return {"n": number, "list": [self(v, f"{where}[{i}]") for i, v in enumerate(value)]}
        if kind is dict:
            pairs = [[self(k, where), self(v, f"{where}.{k!s:.40}")] for k, v in value.items()]
            return {"n": number, "dict": pairs}
        if kind is Tensor and not value.requires_grad and value.layout is torch.strided:
            return {"n": number, **self._tensor(value, where)}
        if kind is np.ndarray and value.dtype.kind in "biufcU" and value.flags.forc:
            return {"n": number, **self._array(value, where)}
        if kind is torch.Generator:
            name = self._add(value.get_state())
            return {"n": number, "generator": name, "device": str(value.device)}
        what = "a tensor with a gradient" if kind is Tensor and value.requires_grad else f"of type {kind.__name__}"
        raise Unsaved(f"{where} is {what}")

    def _tensor(self, value: Tensor, where: str) -> dict[str, Any]:
        if value.is_conj() or value.is_neg() or value.is_quantized:
            raise Unsaved(f"{where} is a tensor of a rare kind")
        storage, device = value.untyped_storage(), str(value.device)
        key = (device, storage.data_ptr(), storage.nbytes())
        if key not in self.storages:
            self.storages[key] = self._add(_bytes(value).cpu())
            if device == "cpu":
                self.spans.append((key[1], key[1] + key[2], where))
        layout = {"size": list(value.shape), "stride": list(value.stride()), "offset": value.storage_offset()}
        return {"tensor": self.storages[key], "dtype": str(value.dtype), "device": device, **layout}

    def _array(self, value: np.ndarray, where: str) -> dict[str, Any]:
        begin = value.ctypes.data
        self.spans.append((begin, begin + value.nbytes, where))
        content = np.frombuffer(bytearray(value.tobytes(order="A")), np.uint8)
        name = self._add(torch.from_numpy(content))
        order = "C" if value.flags.c_contiguous else "F"
        return {"array": name, "dtype": value.dtype.str, "shape": list(value.shape), "order": order}

    def _add(self, content: Tensor) -> str:
        name = str(len(self.tensors))
        self.tensors[name] = content
        return name

    def check(self) -> None:
        """Raises Unsaved where an array has a part of somebody else's memory: apart they would be others."""
        for (_, end, first), (begin, last, second) in itertools.pairwise(sorted(self.spans)):
            if begin < min(end, last):
                raise Unsaved(f"{second} shares memory with {first}")


class _Unpacker:
    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.made: dict[int, Any] = {}
        self.storages: dict[str, torch.UntypedStorage] = {}
        self.filled: dict[str, Root] = {}
        """By the name of the bytes, the roots that they go into."""

    def adopt(self, name: str, node: dict[str, Any], root: Root) -> None:
        """Takes what is there for what this part of the tree describes."""
        packed = {k: v for k, v in node.items() if k not in ("n", "tensor", "generator")}
        if isinstance(root, Tensor):
            there: dict[str, Any] = {"dtype": str(root.dtype), "device": str(root.device), "size": list(root.shape)}
            there |= {"stride": list(root.stride()), "offset": root.storage_offset()}
            at = node.get("tensor", "")
            fits = at and len(self.tensors[at]) == root.untyped_storage().nbytes()
            self.storages[at] = root.untyped_storage()
        else:
            there, at = {"device": str(root.device)}, node.get("generator", "")
            fits = bool(at)
        if packed != there or not fits:
            raise ValueError(f"its {name} is {packed}, expected {there}")
        self.made[node["n"]] = self.filled[at] = root

    def fill(self) -> None:
        for name, root in self.filled.items():
            if isinstance(root, Tensor):
                _bytes(root).copy_(self.tensors[name])
            else:
                root.set_state(self.tensors[name])

    def __call__(self, node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        if "float" in node:
            return float(node["float"])
        if "tuple" in node:
            return tuple(self(v) for v in node["tuple"])
        if "scalar" in node:
            return np.frombuffer(bytes.fromhex(node["hex"]), node["scalar"])[0]
        if "same" in node:
            return self.made[node["same"]]
        made: Any
        if "list" in node:
            made = self.made[node["n"]] = []
            made += [self(v) for v in node["list"]]
        elif "dict" in node:
            made = self.made[node["n"]] = {}
            made.update((self(k), self(v)) for k, v in node["dict"])
        elif "tensor" in node:
            made = self.made[node["n"]] = self._tensor(node)
        elif "array" in node:
            content = np.frombuffer(self.tensors[node["array"]].numpy().tobytes(), node["dtype"])
            made = self.made[node["n"]] = content.reshape(node["shape"], order=node["order"]).copy(node["order"])
        else:
            made = self.made[node["n"]] = torch.Generator(node["device"])
            made.set_state(self.tensors[node["generator"]])
        return made

    def _tensor(self, node: dict[str, Any]) -> Tensor:
        name = node["tensor"]
        if name not in self.storages:
            # a copy begins where torch has memory begin; sums of what begins elsewhere may differ in the last bit
            self.storages[name] = self.tensors[name].to(node["device"], copy=True).untyped_storage()
        empty = torch.empty(0, dtype=getattr(torch, node["dtype"].removeprefix("torch.")), device=node["device"])
        return empty.set_(self.storages[name], node["offset"], node["size"], node["stride"])


def _bytes(tensor: Tensor) -> Tensor:
    """Returns the memory that a tensor is on, as bytes [n]."""
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
