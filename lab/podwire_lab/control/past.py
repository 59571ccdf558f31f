"""What was published before, and the moment: where an object's age and identity come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from podwire_core.objects import ObjectName
from podwire_lab.control.manifests import Document, Manifest, file_name

#: Kubernetes' alphabet of generated names: no vowels, no digits that look like letters.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def _digest(*parts: object) -> bytes:
    """Equal parts, equal bytes, whatever the order of the dictionaries in them."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).digest()


def suffix(length: int, *parts: object) -> str:
    """Letters for a generated name; equal parts give equal letters."""
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in _digest(*parts)[:length])


def uid(*parts: object) -> str:
    """An identity in the shape of a UUID; equal parts give an equal one."""
    row = _digest(*parts).hex()
    return "-".join((row[:8], row[8:12], row[12:16], row[16:20], row[20:32]))


class Past:
    """The documents of before by file name, and now (RFC 3339, UTC, of constant width)."""

    def __init__(self, current: Mapping[str, Document], now: str) -> None:
        self.current = current
        self.now = now

    def document(self, kind: str, name: ObjectName) -> Document:
        """What was published of an object; empty when nothing was."""
        return self.current.get(file_name(kind, name), {})

    def metadata(self, kind: str, name: ObjectName, written: Document) -> Document:
        """An object's metadata: labels and annotations as written, age and uid kept from before.

        A new object's uid comes from its name and the moment, so that a pod made anew under
        an old name is told from the old one.
        """
        before = self.document(kind, name).get("metadata", {})
        return {
            "name": name.name,
            **({"namespace": name.namespace} if name.namespace else {}),
            "uid": before.get("uid") or uid(kind, name, self.now),
            "creationTimestamp": before.get("creationTimestamp") or self.now,
            **{key: written[key] for key in ("labels", "annotations") if written.get(key)},
        }

    def publish(self, manifest: Manifest) -> Document:
        """A manifest as an object: as written, with the metadata that a server adds."""
        written = manifest.document["metadata"]
        metadata = self.metadata(manifest.kind, manifest.name, written)
        return {**manifest.document, "metadata": metadata}
