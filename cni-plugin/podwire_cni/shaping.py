"""How deep a token bucket is for a rate: what `tc qdisc add … tbf` is given. Pure.

```
 bytes
   ▲ burst ┐ may leave at once after a pause
   │       └──── then `rate` bytes each second; what comes faster waits in a queue of `limit`
```

A runtime that limits a rate alone still has to send a burst, and containerd, CRI-O and kubelet
send the largest 32-bit number: half a gigabyte at full speed before anything is limited. Here
that means "no wish".
"""

from typing import NamedTuple

_NO_WISH = 2**32 - 1  # bits, and all that is more
_PAUSE = 10  # a bucket nobody wished for holds 1/10 of a second …
_LEAST = 65_536  # … and a whole segment of TCP's, so that none has to be cut up
_QUEUE = 40  # the queue holds 1/40 of a second, as the stock bandwidth plugin's
_ETHERNET = 14  # bytes before each packet, which a bucket counts
_MOST = 2**32 - 1  # struct tc_tbf_qopt and TCA_TBF_BURST have 32 bits


class Shape(NamedTuple):
    """rate: bytes per second.  burst: the bucket's bytes.  limit: the queue's bytes."""

    rate: int
    burst: int
    limit: int


def shape(rate: int, burst: int, mtu: int) -> Shape:
    """The bucket for a rate in bits per second, a burst in bits, and a device's MTU."""
    bytes_a_second = max(1, rate // 8)
    wished = burst // 8 if burst < _NO_WISH else 0
    depth = wished or max(bytes_a_second // _PAUSE, _LEAST)
    # A packet larger than the bucket would never leave.
    depth = min(max(depth, mtu + _ETHERNET), _MOST)
    limit = min(bytes_a_second // _QUEUE + depth, _MOST)
    return Shape(bytes_a_second, depth, limit)
