"""The ranges that a pod's addresses come from: `ranges`, narrowed by runtimeConfig.ipRanges.

```
 ranges                  runtimeConfig.ipRanges                         what is leased from
 10.244.1.0/24, fd00::/64                                               10.244.1.0/24, fd00::/64
 10.244.1.0/24, fd00::/64  [[{"subnet": "10.244.1.0/24",                10.244.1.64 to .127,
                              "rangeStart": "10.244.1.64",              fd00::/64
                              "rangeEnd": "10.244.1.127"}]]
                         [[{"subnet": "10.244.7.0/24"}]]                10.244.7.0/24
```

`ranges` are this node's share of the cluster: other nodes route nothing else here. So a runtime
may narrow them and not leave them. host-local adds the runtime's ranges to the configuration's
instead, and gives a pod one address of each; a pod of ours has one of each family. A runtime
that keeps the pools itself leaves `ranges` out, and its own are taken as they are.
"""

import functools
import ipaddress

from podwire_cni.errors import BadConfig, UnsupportedField
from podwire_cni.family import IPAddress, IPNetwork
from podwire_cni.fields import JsonObject, listed, mapping, objects, quoted, spelled, typed
from podwire_cni.ranges import AddressRange

_KEY = "runtimeConfig.ipRanges"
_MOST_SETS = 2  # one a family

# Networks that no pod can live in: a range must not touch them.
_FORBIDDEN = {
    ipaddress.ip_network("0.0.0.0/8"): "unspecified",  # RFC 1122 3.2.1.3
    ipaddress.ip_network("127.0.0.0/8"): "loopback",
    ipaddress.ip_network("169.254.0.0/16"): "link-local",  # where the pods' gateway is
    ipaddress.ip_network("224.0.0.0/4"): "multicast",
    ipaddress.ip_network("::/128"): "unspecified",
    ipaddress.ip_network("::1/128"): "loopback",
    ipaddress.ip_network("fe80::/10"): "link-local",
    ipaddress.ip_network("ff00::/8"): "multicast",
}


def parse_ranges(raw: JsonObject) -> tuple[AddressRange, ...]:
    """One or two ranges, one a family, in the configuration's order. Raises BadConfig."""
    wished = _wished(mapping(raw, "runtimeConfig").get("ipRanges"))
    if raw.get("ranges") is None and wished:
        return wished
    ranges = tuple(_range("ranges", item) for item in listed("ranges", raw.get("ranges")))
    if not ranges or not _one_a_family(ranges):
        raise BadConfig("ranges: expected one IPv4 range, one IPv6 range, or one of each")
    for index, wish in enumerate(wished):
        if not any(_lies_in(wish, range_) for range_ in ranges):
            raise BadConfig(
                f"{_KEY}[{index}]: {wish} lies in none of [{', '.join(map(str, ranges))}]",
                "other nodes route only these to this one",
            )
    narrowed = {wish.family: wish for wish in wished}
    return tuple(narrowed.get(range_.family, range_) for range_ in ranges)


def _wished(value: object) -> tuple[AddressRange, ...]:
    sets = listed(_KEY, value, _MOST_SETS) if value is not None else []
    wished = tuple(_set(f"{_KEY}[{index}]", item) for index, item in enumerate(sets))
    if not _one_a_family(wished):
        raise BadConfig(f"{_KEY}: a pod has at most one address of each family")
    return wished


def _set(key: str, value: object) -> AddressRange:
    """A range set: alternatives for one address, of which we take one."""
    items = listed(key, value)
    if len(items) != 1:
        raise UnsupportedField(f"{key}: {len(items)} ranges for one address, one is supported")
    (found,) = objects(key, items, 1)
    item = spelled(found, "subnet", "rangeStart", "rangeEnd", "gateway")
    where = f"{key}[0]."
    subnet = _range(f"{where}subnet", item.get("subnet")).network
    first = _end(item, "rangeStart", where, subnet)
    last = _end(item, "rangeEnd", where, subnet)
    # Nobody has the gateway's address in a pod's network of ours; that it is one is all we ask.
    _end(item, "gateway", where, subnet)
    range_ = AddressRange(subnet, first, last)
    if range_.capacity < 1:
        raise BadConfig(f"{key}[0]: {range_} holds no address that a pod can have")
    return range_


def _range(key: str, item: object) -> AddressRange:
    # ip_network() would also take a number.
    if not isinstance(item, str) or "/" not in item:
        raise BadConfig(f"{key}: {quoted(item)} is not a CIDR like '10.244.1.0/24'")
    return _checked(key, item)


# Every call of a node brings the same two, and reading them is most of reading a configuration.
@functools.lru_cache(maxsize=64)
def _checked(key: str, item: str) -> AddressRange:
    try:
        range_ = AddressRange(ipaddress.ip_network(item))
    except ValueError as error:
        raise BadConfig(f"{key}: {error}") from None
    if range_.capacity < 1:
        raise BadConfig(f"{key}: {item} is too small to hold a pod")
    for network, what in _FORBIDDEN.items():
        if range_.network.overlaps(network):
            raise BadConfig(f"{key}: {item} holds {what} addresses, which no pod can have")
    return range_


def _end(item: JsonObject, name: str, where: str, subnet: IPNetwork) -> IPAddress | None:
    text = typed(item, name, str, "a string", where)
    if not text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise BadConfig(f"{where}{name}: {quoted(text)} is not an address") from None
    if address not in subnet:
        raise BadConfig(f"{where}{name}: {address} is not in {subnet}")
    return address


def _lies_in(wish: AddressRange, range_: AddressRange) -> bool:
    ends = (wish.address(wish.first_offset), wish.address(wish.last_offset))
    return all(range_.offers(end) for end in ends)


def _one_a_family(ranges: tuple[AddressRange, ...]) -> bool:
    return len({range_.family for range_ in ranges}) == len(ranges)
