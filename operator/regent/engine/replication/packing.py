"""Objects as they are kept for long: compressed JSON, which takes a fifth of the memory of the same object as dicts.

Objects are small and alike, so the compressor is given beforehand what nearly all of them contain; without that, one
alone hardly gets smaller. What is packed never leaves the process.
"""

from __future__ import annotations

import json
import zlib
from typing import cast

from regent.domain.replication import marks
from regent.engine.ports import Object

_LEVEL = 1
_SMALL = 16 * 1024
_LITTLE = {"wbits": -12, "memLevel": 5}
"""Window and tables of 4 KiB: making larger ones costs more than compressing an object of a few kilobytes."""
_WHOLE = {"wbits": -15, "memLevel": 8}

_COMMON = "".join(
    (
        '"app.kubernetes.io/instance":"app.kubernetes.io/managed-by":"Helm","app.kubernetes.io/name":"',
        '"image":"imagePullPolicy":"IfNotPresent","resources":{"limits":{"requests":{"cpu":"memory":"',
        '"spec":{"replicas":"selector":{"matchLabels":{"template":{"metadata":{"labels":{"containers":[{"name":"',
        '"ports":[{"containerPort":"protocol":"TCP","targetPort":"type":"ClusterIP"}],"status":{',
        f'"finalizers":["generation":1,"ownerReferences":["{marks.MISSING_SINCE}":"',
        '"apiVersion":"apps/v1","kind":"Deployment","Service","Secret","type":"Opaque","stringData":{"',
        '"apiVersion":"v1","kind":"ConfigMap","data":{"',
        '"metadata":{"annotations":{',
        *(f'"{name}":"' for name in sorted(marks.ANNOTATIONS - {marks.MISSING_SINCE})),
        '},"creationTimestamp":"2026-01-01T00:00:00Z","labels":{"app":"',
        *(f'"{name}":"' for name in sorted(marks.LABELS)),
        '},"managedFields":[{"manager":"regent-replication","operation":"Update"}],',
        '"name":"namespace":"resourceVersion":"uid":"',
        f'"regentChangedAt":17{"0" * 8}.0}}}}',
    )
).encode()


def pack(obj: Object) -> bytes:
    """Return the object in little memory."""
    data = json.dumps(obj, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    sizes = _LITTLE if len(data) <= _SMALL else _WHOLE
    packer = zlib.compressobj(_LEVEL, zdict=_COMMON, **sizes)
    return packer.compress(data) + packer.flush()


def unpack(packed: bytes) -> Object:
    """Return the object that was packed, as dicts of its own."""
    data = zlib.decompressobj(wbits=_WHOLE["wbits"], zdict=_COMMON).decompress(packed)
    return cast(Object, json.loads(data.decode("utf-8", "surrogatepass")))
