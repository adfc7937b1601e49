"""What bounds the labels of one series, whichever protocol they came by."""

from collections.abc import Iterable
from dataclasses import dataclass

from mirubato.model.seams import PointRefused


@dataclass(frozen=True, slots=True)
class LabelLimits:
    """Settings that bound one series: labels in number, names and values in bytes."""

    labels: int
    name_bytes: int
    value_bytes: int

    def check(self, labels: Iterable[tuple[str, str]], count: int) -> None:
        """PointRefused, naming the setting, where a bound is passed."""
        if count > self.labels:
            raise PointRefused("label_limit", f"{count} labels, more than MIRUBATO_MAX_LABELS={self.labels}")
        for name, value in labels:
            if len(name.encode()) > self.name_bytes:
                raise PointRefused(
                    "label_limit", f"a label name longer than MIRUBATO_MAX_LABEL_NAME_BYTES={self.name_bytes}"
                )
            if len(value.encode()) > self.value_bytes:
                raise PointRefused(
                    "label_limit", f"a label value longer than MIRUBATO_MAX_LABEL_VALUE_BYTES={self.value_bytes}"
                )
