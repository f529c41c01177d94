"""The poster's two tables, row by row, computed: `hpd reproduce`.

    result = reproduce(["hpd-minilm-*"], Path("tables"), scale="cpu", nli=["AllNLI.tsv.gz"],
                       data=Path("senteval"))
    Path("tables.md").write_text(to_markdown(result))

`rows/` says what each row is, `tables.toml` where it stands, `scales/` how much is spent on it,
`stand_ins.toml` which weights stand in for which where those cannot be had.
"""

from hpdistill.reproduce.plan import Planned, plan
from hpdistill.reproduce.row import Catalogue, Row, load_catalogue
from hpdistill.reproduce.run import Reproduced, reproduce
from hpdistill.reproduce.scale import Scale, ScaleName, load_scale
from hpdistill.reproduce.supply import StandIn, Supply, load_stand_ins, parse_models
from hpdistill.reproduce.table import tables_of, to_html, to_markdown

__all__ = [
    "Catalogue",
    "Planned",
    "Reproduced",
    "Row",
    "Scale",
    "ScaleName",
    "StandIn",
    "Supply",
    "load_catalogue",
    "load_scale",
    "load_stand_ins",
    "parse_models",
    "plan",
    "reproduce",
    "tables_of",
    "to_html",
    "to_markdown",
]
