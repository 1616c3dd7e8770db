"""Maps from the activations of a layer: class activation, Grad-CAM, EigenCAM, and single channels.

Sources: Zhou et al., Learning deep features for discriminative localization, arXiv 1512.04150; Selvaraju et
al., Grad-CAM, arXiv 1610.02391; Draelos and Carin, HiResCAM, arXiv 2011.08891 (gradient times activation,
which is the class activation map where pooling is a mean and all after it is linear); Muhammad and Yeasin,
Eigen-CAM, arXiv 2008.00299.

Shapes: F bands of the layer (1 where it has none), C channels, T frames of the layer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sdpn.explain.layers import require_frames, watched
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.target import Target


def class_activation(
    network: ExplainedNetwork, target: Target, features_1FT: Tensor, layer: str | None = None
) -> Tensor:
    """Gradient times activation, summed over the channels: (F or 1, T) of the features.

    Args:
        network: the network.
        target: what is explained.
        features_1FT: its input.
        layer: a layer with an output for every frame; None: the last of them, which pooling sees.

    Raises:
        InputError: the layer has no output for every frame.
    """
    activation_CFT, gradient_CFT = _activation_and_gradient(network, target, features_1FT, layer)
    return _resized((activation_CFT * gradient_CFT).sum(0), features_1FT)


def grad_cam(
    network: ExplainedNetwork, target: Target, features_1FT: Tensor, layer: str | None = None
) -> Tensor:
    """Activations weighted by the mean gradient of their channel, (F or 1, T); signs are kept.

    Arguments and errors are those of `class_activation`.
    """
    activation_CFT, gradient_CFT = _activation_and_gradient(network, target, features_1FT, layer)
    weight_C11 = gradient_CFT.mean((1, 2), keepdim=True)
    return _resized((weight_C11 * activation_CFT).sum(0), features_1FT)


def eigen_cam(
    network: ExplainedNetwork, _target: Target, features_1FT: Tensor, layer: str | None = None
) -> Tensor:
    """Activations projected on their first principal direction, (F or 1, T): whatever the target is.

    Arguments and errors are those of `class_activation`.
    """
    with torch.no_grad():
        activation_CFT = layer_activation(network, features_1FT, layer)
    flat_CN = activation_CFT.flatten(1)
    direction_C = torch.linalg.svd(flat_CN, full_matrices=False).U[:, 0]
    projected_FT = (direction_C @ flat_CN).view(activation_CFT.shape[1:])
    return _resized(projected_FT * projected_FT.sum().sign(), features_1FT)  # the sign of a direction is free


def layer_activation(network: ExplainedNetwork, features_1FT: Tensor, layer: str | None = None) -> Tensor:
    """The output of a layer as (C, F, T), where F is 1 for a layer without bands.

    Raises:
        InputError: the layer has no output for every frame.
    """
    name, axis = _layer(network, layer)
    with watched(network.encoder, [name]) as outputs:
        network.embed(features_1FT)
    return _as_channels(outputs[name], axis)


def _activation_and_gradient(
    network: ExplainedNetwork, target: Target, features_1FT: Tensor, layer: str | None
) -> tuple[Tensor, Tensor]:
    name, axis = _layer(network, layer)
    with watched(network.encoder, [name]) as outputs:
        # the input needs a gradient too, or nothing below a frozen layer has one
        score_B = network.scorer(target)(features_1FT.clone().requires_grad_())
    (gradient,) = torch.autograd.grad(score_B.sum(), outputs[name])
    return _as_channels(outputs[name].detach(), axis), _as_channels(gradient, axis)


def _layer(network: ExplainedNetwork, layer: str | None) -> tuple[str, int]:
    name = network.last_frame_layer if layer is None else layer
    axes = network.axes_of(name)
    require_frames(axes, name)
    axis = axes[name]
    assert axis is not None
    return name, axis


def _as_channels(output: Tensor, axis: int) -> Tensor:
    """(1, C, T), (1, T, C) or (1, C, F, T) as (C, F, T)."""
    if output.ndim == 4:
        return output[0]
    return (output if axis == 2 else output.transpose(1, 2))[0].unsqueeze(1)


def _resized(map_FT: Tensor, features_1FT: Tensor) -> Tensor:
    """A map of a layer at the resolution of the features; one without bands keeps its single row."""
    bands = features_1FT.shape[1] if map_FT.shape[0] > 1 else 1
    size = (bands, features_1FT.shape[2])
    return interpolate(map_FT[None, None].float(), size=size, mode="bilinear", align_corners=False)[0, 0]
