"""Center loss, which libraries have with other rules or not at all."""

import torch
from torch import Tensor, nn


class CenterLoss(nn.Module):
    """Half the squared distance to a center of the class that is learned (Wen et al., ECCV 2016).

    The centers are learned by the optimizer of the network, and not by a rule of their own.
    """

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(num_classes, dim))

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        """Return the mean over rows."""
        return (features - self.centers[classes]).square().sum(1).mean() / 2
