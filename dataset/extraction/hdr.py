"""Pictures of HDR films as a screen without HDR shows them.

FFmpeg's scaler can convert them too, but it fades strong colours, and first computes a table for 3 s, for each size of
picture in each thread.
"""

import numpy as np
from av.video.reformatter import ColorTrc

WHITE, PEAK = 203, 1000  # cd/m², of a white page (ITU-R BT.2408) and of the screen that HLG is made for
LUMINANCE = np.array([0.2627, 0.678, 0.0593], np.float32)  # of red, green and blue of ITU-R BT.2020
# Light of red, green and blue, BT.2020 (rows) as BT.709 (columns); ITU-R BT.2087 transposed
BT709 = np.array([[1.6605, -0.1246, -0.0182], [-0.5876, 1.1329, -0.1006], [-0.0728, -0.0083, 1.1187]], np.float32)


def _pq(signal: np.ndarray) -> np.ndarray:
    """Light of the screen, in whites, by the EOTF of ITU-R BT.2100."""
    root = signal ** (1 / 78.84375)
    return 10000 / WHITE * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def _hlg(signal: np.ndarray) -> np.ndarray:
    """Light of the scene, in [0, 1], by the inverse OETF of ITU-R BT.2100."""
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)


_SIGNAL = np.arange(1 << 16) / 0xFFFF
LIGHT = {ColorTrc.SMPTE2084: _pq(_SIGNAL).astype(np.float32), ColorTrc.ARIB_STD_B67: _hlg(_SIGNAL).astype(np.float32)}


def without_hdr(picture: np.ndarray, transfer: int) -> np.ndarray:
    """A picture (height, width, 3) in BT.709, uint8, for a screen of gamma 2.4; what is brighter than white is white.

    Args:
        picture: RGB in the primaries of BT.2020, uint16.
        transfer: the picture's, one of ``LIGHT``.
    """
    light = LIGHT[transfer][picture]
    if transfer == ColorTrc.ARIB_STD_B67:
        light *= PEAK / WHITE * (light @ LUMINANCE)[..., None] ** 0.2  # from the scene to the screen
    return np.rint(255 * np.clip(light @ BT709, 0, 1) ** (1 / 2.4)).astype(np.uint8)
