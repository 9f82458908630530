"""The command `meterport import`."""

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from meterport.cli_base import Data, Json, home, say
from meterport.domain.period import LONGEST_INTERVAL_S

Files = Annotated[
    list[Path],
    Argument(metavar="FILE...", help="CSV, Parquet, NDJSON, Green Button XML or NEM12 files."),
]
Map = Annotated[
    list[str] | None,
    Option(
        "--map",
        metavar="COLUMN=SOURCE[:UNIT]",
        help="Where a column of ours stands in the file; may be repeated.",
    ),
]
Meter = Annotated[str | None, Option(metavar="ID", help="The meter, if not in the file.")]
Timezone = Annotated[str | None, Option(metavar="ZONE", help="Of timestamps without an offset.")]
Interval = Annotated[
    int | None,
    Option(
        min=1,
        max=LONGEST_INTERVAL_S,
        metavar="SECONDS",
        help="Length of an interval, if not in the file.",
    ),
]
Where = Annotated[
    list[str] | None,
    Option(metavar="COLUMN=WORD", help="Take only such rows; may be repeated."),
]
Delimiter = Annotated[str | None, Option(help="Of CSV: , ; | or tab; else found out.")]
Decimal = Annotated[str | None, Option(help=". or , else found out.")]
HeaderLine = Annotated[
    int | None, Option(min=0, metavar="LINE", help="Of CSV; 0: none, columns are #1, #2 …")
]
DateFormat = Annotated[str | None, Option(help="iso, ymd, dmy or mdy; else found out.")]
Label = Annotated[str, Option(help="Timestamps are the start or the end of the interval.")]
RepeatedHour = Annotated[
    str, Option(help="Where the clock shows a time twice: order, first or second.")
]
Factor = Annotated[str | None, Option(metavar="COLUMN", help="Its number multiplies the values.")]
Quality = Annotated[
    list[str] | None,
    Option(metavar="WORD=QUALITY", help="What a word of the file means; may be repeated."),
]
Missing = Annotated[
    list[str] | None, Option(metavar="WORD", help="Stands for no value; may be repeated.")
]
Wide = Annotated[
    str | None, Option(metavar="COLUMN[:UNIT]", help="The file has a day a row; what of.")
]
SkipBadRows = Annotated[bool, Option("--skip-bad-rows", help="Leave them out, and name them.")]


def import_(
    files: Files,
    data: Data = None,
    map_: Map = None,
    meter: Meter = None,
    timezone: Timezone = None,
    interval: Interval = None,
    where: Where = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    header_line: HeaderLine = None,
    date_format: DateFormat = None,
    label: Label = "start",
    repeated_hour: RepeatedHour = "order",
    factor: Factor = None,
    quality: Quality = None,
    missing: Missing = None,
    wide: Wide = None,
    skip_bad_rows: SkipBadRows = False,
    as_json: Json = False,
) -> None:
    """Import readings, all files as one version or nothing."""
    from meterport import import_here
    from meterport.services.import_options import Said, options

    said = Said(
        maps=map_ or (),
        meter=meter,
        timezone=timezone,
        interval_s=interval,
        where=where or (),
        delimiter=delimiter,
        decimal=decimal,
        header_line=header_line,
        date_format=date_format,
        label=label,
        repeated_hour=repeated_hour,
        factor=factor,
        quality=quality or (),
        missing=missing or (),
        wide=wide,
        skip_bad_rows=skip_bad_rows,
    )
    report = import_here.run(home(data=data), files, options(said))
    say(import_here.as_json(report) if as_json else import_here.as_text(report))


def receive(file: Path, data: Data = None) -> None:
    """Import a file that was sent to the API; what was said of it comes on stdin."""
    from meterport import import_here

    say(import_here.receive(home(data=data), file, sys.stdin.read()))
