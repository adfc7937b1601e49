"""Labels and annotations of an alert: a rule's templates filled in. Source: prometheus, rules/alerting.go."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mirubato.alerts.go_templates import TemplateError, parsed
from mirubato.alerts.rules import Rule
from mirubato.alerts.template_functions import NAMES, Ask, functions
from mirubato.alerts.template_running import Functions, Record, run
from mirubato.errors import MirubatoError
from mirubato.model.labels import NAME, Labels

ALERTNAME = "alertname"


class Expanded(NamedTuple):
    """What an alert carries; labels as (name, value) pairs sorted by name, `alertname` among them."""

    labels: Labels
    annotations: Mapping[str, str]


def expand(
    rule: Rule,
    labels: Labels,
    value: float,
    ask: Ask,
    *,
    now_ms: int,
    external_url: str = "",
    external_labels: Mapping[str, str] | None = None,
) -> Expanded:
    """The labels and annotations of the alert that a series with these `labels` and this `value` is.

    A template that fails yields its error as text: the alert goes on. `ask` answers `query` at the evaluation's time.
    """
    data = {
        "Labels": dict(labels),
        "ExternalLabels": dict(external_labels or {}),
        "ExternalURL": external_url,
        "Value": value,
    }
    filled = _Filling(data, functions(ask, now_ms, external_url)).text
    own = {name: filled(template) for name, template in rule.labels.items()}
    together = {**{name: one for name, one in labels if name != NAME}, **own, ALERTNAME: rule.name}
    annotations = {name: filled(template) for name, template in rule.annotations.items()}
    return Expanded(tuple(sorted((name, one) for name, one in together.items() if one)), annotations)


class _Filling(NamedTuple):
    """What the templates of one alert see, and the functions that they may call."""

    data: Mapping[str, Any]
    functions: Functions

    def text(self, template: str) -> str:
        """A template filled in, or why that failed."""
        if "{{" not in template:
            return template
        variables = {f"${name[0].lower()}{name[1:]}": one for name, one in self.data.items()}
        try:
            return run(parsed(template, NAMES), Record(self.data), variables, self.functions)
        except (TemplateError, MirubatoError, RecursionError) as error:
            return f"<error expanding template: {error}>"
