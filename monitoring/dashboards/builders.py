"""The form that all dashboards share: their variables, their panels, their colours."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig, StackingConfig, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    FieldColor,
    QueryVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.statetimeline import Panel as StateTimeline
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery as AnyDataquery
from grafana_foundation_sdk.models import dashboard as dashboards
from grafana_foundation_sdk.models.common import (
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from monitoring.limits import GATEWAY, JOBS, USERS

TAG = "video-platform"

_INSTALLATION = 'cluster=~"$cluster",namespace=~"$namespace",release=~"$release",job=~"$job"'
_PLACE = f'{_INSTALLATION},instance=~"$instance"'
GATEWAYS = f"{GATEWAY},{_PLACE}"
"""Selects the gateways that the variables name."""
USER_SERVICES = f"{USERS},{_PLACE}"
"""Selects the user services that the variables name."""
EVERY_PROCESS = f"{JOBS},{_PLACE}"
"""Selects both."""
OBJECTIVES = f"{GATEWAY},{_INSTALLATION}"
"""Selects the recorded series of all gateways together."""

_SOURCE = DataSourceRef("prometheus", "${datasource}")
_GREEN, _YELLOW, _RED = "green", "yellow", "red"


def dashboard(uid: str, title: str, description: str, jobs: str) -> Dashboard:
    """Return an empty dashboard; `jobs` selects the series whose namespaces and instances can be chosen."""
    return (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            DashboardLink("Video platform")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_choice("cluster", jobs, absent=True))
        .with_variable(_choice("namespace", f'{jobs},cluster=~"$cluster"'))
        .with_variable(_choice("release", f'{jobs},cluster=~"$cluster",namespace=~"$namespace"', absent=True))
        .with_variable(_choice("job", f'{jobs},cluster=~"$cluster",namespace=~"$namespace",release=~"$release"'))
        .with_variable(_choice("instance", f"{jobs},{_INSTALLATION}"))
        .annotation(
            AnnotationQuery()
            .name("Alerts that fire")
            .datasource(_SOURCE)
            .enable(True)
            .icon_color(_RED)
            .expr(f'ALERTS{{alertstate="firing",{jobs},{_INSTALLATION}}}')
            .title_format("{{alertname}}")
            .text_format("{{severity}} {{route}} {{instance}}")
        )
    )


def finish(builder: Dashboard) -> dashboards.Dashboard:
    """Build the dashboard, with its panels numbered and its links where everybody sees them."""
    built = builder.build()
    for number, panel in enumerate(built.panels or (), start=1):
        panel.id_val = number
    for link in built.links or ():
        link.placement = None  # type: ignore[assignment]  # the only value there is hides it in a menu
    return built


def graph(
    title: str,
    description: str,
    unit: str,
    queries: Mapping[str, str],
    *,
    warn: float | None = None,
    alarm: float | None = None,
    stacked: bool = False,
) -> TimeSeries:
    """Return a panel that draws `queries`, each under its legend, over time.

    Args:
        title: what is asked.
        description: what the answer means.
        unit: one of Grafana's.
        queries: PromQL by legend, in which `{{label}}` stands for a label's value.
        warn: where the yellow begins.
        alarm: where the red begins: the limit of an alert.
        stacked: whether the series add up to something.
    """
    panel = (
        TimeSeries()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .axis_soft_min(0)
        .fill_opacity(20 if stacked else 5)
        .show_points(VisibilityMode.AUTO)
        .legend(
            VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
        )
        .height(8)
        .span(8)
    )
    if stacked:
        panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    if warn is not None or alarm is not None:
        panel.thresholds(_thresholds(warn, alarm))
        panel.thresholds_style(GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    return panel.targets(_targets(queries))


def states(title: str, description: str, queries: Mapping[str, str], *, yes: str, no: str) -> StateTimeline:
    """Return a panel of series that are 1 or 0 over time; `yes` and `no` are their labels."""
    return (
        StateTimeline()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit("short")
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .thresholds(
            ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(None, _RED), Threshold(1, _GREEN)])
        )
        .mappings([ValueMap({"1": ValueMappingResult(yes, _GREEN), "0": ValueMappingResult(no, _RED)})])
        .show_value(VisibilityMode.NEVER)
        .row_height(0.8)
        .legend(
            VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
        )
        .height(8)
        .span(8)
        .targets(_targets(queries))
    )


def quantiles(metric: str, selector: str, by: str = "") -> dict[str, str]:
    """Return queries for the median and the 99th percentile of a histogram, for each value of the label `by`."""
    label = f"{{{{{by}}}}} " if by else ""
    group = f"le, {by}" if by else "le"
    return {
        f"{label}{name}": (
            f"histogram_quantile({quantile}, sum by ({group}) (rate({metric}_bucket{{{selector}}}[$__rate_interval])))"
        )
        for name, quantile in (("p50", 0.5), ("p99", 0.99))
    }


def rate(counter: str, selector: str, by: str) -> str:
    """Return a query for how often a second a counter counts, for each value of the labels `by`."""
    return f"sum by ({by}) (rate({counter}{{{selector}}}[$__rate_interval]))"


def _targets(queries: Mapping[str, str]) -> list[Builder[AnyDataquery]]:
    return [
        Dataquery().datasource(_SOURCE).expr(expr).legend_format(legend).range().ref_id(chr(ord("A") + i))
        for i, (legend, expr) in enumerate(queries.items())
    ]


def _thresholds(warn: float | None, alarm: float | None) -> ThresholdsConfig:
    steps = [Threshold(None, _GREEN)]
    if warn is not None:
        steps.append(Threshold(warn, _YELLOW))
    if alarm is not None:
        steps.append(Threshold(alarm, _RED))
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _choice(name: str, selector: str, *, absent: bool = False) -> QueryVariable:
    """Return the choice of a label's values, which series may be without if it may be `absent`."""
    query = f"label_values(build_info{{{selector}}}, {name})"
    return (
        QueryVariable(name)
        .label(name.capitalize())
        .datasource(_SOURCE)
        .query({"query": query, "refId": name})
        .definition(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*" if absent else ".+")
        .current(VariableOption(True, ["All"], ["$__all"]))
    )
