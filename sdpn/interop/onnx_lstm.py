"""An LSTM as ONNX's own operator: the exporter would unroll it over the frames of the example.

Shapes: B batch, T frames, I inputs, H hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Gates of ONNX (input, output, forget, cell) among torch's (input, forget, cell, output).
_GATES = (0, 3, 1, 2)


class OnnxLstm(nn.Module):
    """Stands for a bidirectional `torch.nn.LSTM` with ``batch_first`` while a graph is drawn.

    It computes nothing itself.

    Args:
        lstm: the LSTM, in evaluation mode.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        assert lstm.bidirectional and lstm.batch_first and lstm.bias
        self.hidden, self.num_layers = lstm.hidden_size, lstm.num_layers
        for layer in range(lstm.num_layers):
            both = [f"l{layer}", f"l{layer}_reverse"]
            for kind in ("weight_ih", "weight_hh"):
                stacked = torch.stack([self._gates(getattr(lstm, f"{kind}_{name}")) for name in both])
                self.register_buffer(f"{kind}_{layer}", stacked)
            biases = [
                torch.cat([self._gates(getattr(lstm, f"{kind}_{name}")) for kind in ("bias_ih", "bias_hh")])
                for name in both
            ]
            self.register_buffer(f"bias_{layer}", torch.stack(biases))

    def _gates(self, weights: Tensor) -> Tensor:
        parts = weights.detach().split(self.hidden)
        return torch.cat([parts[gate] for gate in _GATES])

    def forward(self, inputs_BTI: Tensor) -> tuple[Tensor, None]:
        """Hidden states (B, T, 2 H)."""
        batch, frames, _ = inputs_BTI.shape
        hidden_TBI = inputs_BTI.transpose(0, 1)
        for layer in range(self.num_layers):
            weights = [getattr(self, f"{kind}_{layer}") for kind in ("weight_ih", "weight_hh", "bias")]
            hidden_T2BH: Tensor = torch.onnx.ops.symbolic(
                "LSTM",
                (hidden_TBI, *weights),
                attrs={"hidden_size": self.hidden, "direction": "bidirectional"},
                dtype=inputs_BTI.dtype,
                shape=(frames, 2, batch, self.hidden),
                version=18,
            )
            hidden_TBI = hidden_T2BH.transpose(1, 2).reshape(frames, batch, 2 * self.hidden)
        return hidden_TBI.transpose(0, 1), None
