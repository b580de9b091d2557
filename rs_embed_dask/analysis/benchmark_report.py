"""A benchmark's results: tables, ranks, figures and a page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.analysis.metrics import PRIMARY
from rs_embed_dask.analysis.probes import NO_PROBE
from rs_embed_dask.errors import UnknownNameError
from rs_embed_dask.show.tables import Section, page_html, page_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Benchmark"]

_TITLE: Final = "Benchmark"
_ALL: Final = "all"


@dataclass(frozen=True, eq=False)
class Benchmark:
    """How well labels are predicted; prints as a page.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per task, model, probe, way of holding out, number of labels and metric: ``task``, ``kind``, ``table``,
        ``family``, ``model``, ``baseline``, ``probe`` ("none" where there is none), ``folds``, ``labels`` (learnt from,
        per class, or in all for numbers; 0 for all there are), ``n`` (labels tested), ``groups`` (held out and
        resampled together), ``metric``, ``value``, ``low`` and ``high`` (95 % by 1,000 bootstrap draws of groups).
        Metrics: ``r2``, ``rmse`` and ``mae`` (in the labels' units); ``accuracy``, ``balanced_accuracy``, ``f1_macro``.
    predictions : pandas.DataFrame
        One row per label and model: ``task``, ``model``, ``probe``, ``folds``, ``id``, ``span``, ``fold``, ``label``,
        ``prediction``, learnt without the fold that the label is in.
    notes : tuple of str
        Baselines that are missing, what was left out, how folds were made and how inputs were prepared.
    """

    table: pd.DataFrame = field(repr=False)
    predictions: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def scores(self) -> pd.DataFrame:
        """Rows of ``table`` of the metric that ranks (R2, accuracy), learnt from all labels."""
        ranked = self.table["metric"] == self.table["kind"].map(PRIMARY)
        return self.table[ranked & (self.table["labels"] == 0)].reset_index(drop=True)

    @property
    def ranks(self) -> pd.DataFrame:
        """Mean rank of each model over tasks (1 is best), by way of holding out, probe and family of tasks.

        Tasks of one table count once, by their mean. Baselines without a probe are ranked beside each. Columns:
        ``folds``, ``probe``, ``family`` ("all" for all tasks), ``model``, ``rank``, ``tasks``.
        """
        import pandas as pd

        scores = self.scores
        plain = scores[scores["probe"] == NO_PROBE]
        parts = []
        for (kind, folds, probe), own in scores[scores["probe"] != NO_PROBE].groupby(["kind", "folds", "probe"]):
            beside = plain[(plain["kind"] == kind) & (plain["folds"] == folds) & plain["task"].isin(own["task"])]
            both = pd.concat([own, beside]).assign(probe=str(probe))
            mean = both.groupby(["folds", "probe", "family", "table", "model"], as_index=False)["value"].mean()
            group = mean.groupby("table")["value"]
            parts.append(mean.assign(rank=group.rank(ascending=False, method="average")))
        ranked = pd.concat(parts)
        ranked = pd.concat([ranked[ranked["family"] != ""], ranked.assign(family=_ALL)])
        keys = ["folds", "probe", "family", "model"]
        means = ranked.groupby(keys, as_index=False).agg(rank=("rank", "mean"), tasks=("table", "nunique"))
        order = [*keys[:3], "rank"]
        ordered: pd.DataFrame = means.sort_values(order, kind="stable").reset_index(drop=True)
        return ordered

    def complementarity(self, fused: str, models: Sequence[str]) -> pd.DataFrame:
        """Return how much better fused vectors predict than the best of the models that they are made of.

        Parameters
        ----------
        fused : str
            The model of a store that `fuse` made, ``"fused"``.
        models : list of str
            Those that were fused.

        Returns
        -------
        pandas.DataFrame
            One row per task, probe and way of holding out: ``metric``, ``fused`` (the score), ``best`` (a model),
            ``single`` (its score) and ``gain``, the difference.

        Raises
        ------
        UnknownNameError
            If the benchmark has no such model.
        """
        scores = self.scores[self.scores["probe"] != NO_PROBE]
        for name in (fused, *models):
            if name not in set(scores["model"]):
                raise UnknownNameError.among("model", name, scores["model"])
        keys = ["task", "folds", "probe", "metric"]
        wide = scores.pivot_table(index=keys, columns="model", values="value", sort=False)
        found = wide[[fused]].set_axis(["fused"], axis=1)
        found = found.assign(best=wide[[*models]].idxmax(axis=1), single=wide[[*models]].max(axis=1))
        return found.assign(gain=found["fused"] - found["single"]).reset_index()

    def plot(self) -> Figure:
        """Draw the scores of each model as bars with their intervals, ways of holding out side by side.

        Returns
        -------
        matplotlib Figure
            A row per task and a column per probe; baselines are hatched.
        """
        from rs_embed_dask.plot.benchmark import score_bars

        return score_bars(self.scores)

    def plot_curves(self) -> Figure:
        """Draw the scores of each model by the number of labels learnt from.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        SpecError
            If the benchmark was run without ``curve=``.
        """
        from rs_embed_dask.plot.benchmark import label_curves

        ranked = self.table["metric"] == self.table["kind"].map(PRIMARY)
        return label_curves(self.table[ranked])

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write one page, complete in itself: notes, figures, ranks and scores.

        Parameters
        ----------
        path : path
            The file; what is there is replaced.
        """
        figures = [self.plot(), *([self.plot_curves()] if (self.table["labels"] > 0).any() else [])]
        pictures = "".join(
            f"<p><img alt='scores' src='{_embedded(one)}' style='max-width:100%'></p>" for one in figures
        )
        head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{_TITLE}</title>"
        page = page_html("Results", [*self._sections, self._numbers])
        title = f"<h1 style='font:600 20px system-ui,sans-serif'>{html.escape(self._title)}</h1>"
        Path(path).write_text(
            f"<!doctype html><html lang='en'><head>{head}</head><body>{title}{pictures}{page}</body></html>\n", "utf-8"
        )

    @property
    def _title(self) -> str:
        tasks, models = self.table["task"].nunique(), self.table.loc[~self.table["baseline"], "model"].nunique()
        return f"{_TITLE}: {models} model{'s' * (models != 1)} and baselines, {tasks} task{'s' * (tasks != 1)}"

    @property
    def _sections(self) -> list[Section]:
        columns = ["folds", "probe", "family", "model", "rank", "tasks"]
        ranks = [
            (*map(str, row[:4]), f"{row[4]:.2f}", str(row[5])) for row in self.ranks[columns].itertuples(index=False)
        ]
        return [
            Section("Notes", [(note,) for note in self.notes]),
            Section("Scores, with 95 % intervals", _lines(self.scores), ("task", "folds", "probe", "model", "score")),
            Section("Mean ranks", ranks, columns),
        ]

    @property
    def _numbers(self) -> Section:
        columns = ["task", "folds", "probe", "labels", "model", "metric", "value", "low", "high", "n", "groups"]
        numbers = {"value", "low", "high"}
        rows = [
            tuple(f"{cell:.4g}" if name in numbers else str(cell) for name, cell in zip(columns, row, strict=True))
            for row in self.table[columns].itertuples(index=False)
        ]
        return Section("All numbers", rows, columns)

    def __str__(self) -> str:
        return page_text(self._title, self._sections)

    def _repr_html_(self) -> str:
        return page_html(self._title, self._sections)


def _lines(scores: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return a row per score, the best of each task, probe and way of holding out first."""
    keys = ["task", "folds", "probe"]
    best = scores.sort_values([*keys, "value"], ascending=[True, True, True, False], kind="stable")
    return [
        (
            *(str(row[name]) for name in [*keys, "model"]),
            f"{row['metric']} {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})",
        )
        for _, row in best.iterrows()
    ]


def _embedded(figure: Any) -> str:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return html.escape("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
