"""Where pickles of 0.1.0 before its release look for gradients."""

from ._tapes import ChunkGradients as ChunkGradients
from ._tapes import Gradients as Gradients
