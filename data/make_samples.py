"""Write investments.csv and accounts.csv again: the same rows every time, all names invented.

Run from anywhere: ``python data/make_samples.py``. A test compares what it makes with
the files.
"""

import csv
import io
import itertools
import random
from pathlib import Path

HERE = Path(__file__).resolve().parent

SECTORS = {
    "Energy": ["Power", "Petroleum", "Solar", "Pipelines"],
    "Materials": ["Timber", "Chemicals", "Steel", "Mining"],
    "Industrials": ["Freight", "Tools", "Aerospace", "Rail"],
    "Consumer Goods": ["Foods", "Outfitters", "Breweries", "Toys"],
    "Health Care": ["Pharma", "Diagnostics", "Clinics", "Biotech"],
    "Financials": ["Bank", "Insurance", "Capital", "Trust"],
    "Technology": ["Software", "Semiconductor", "Networks", "Robotics"],
    "Utilities": ["Water", "Electric", "Gas", "Grid"],
    "Real Estate": ["Properties", "Land", "Estates", "Housing"],
}
PLACES = [
    "Alder",
    "Amber",
    "Aspen",
    "Baltic",
    "Beacon",
    "Birch",
    "Blue",
    "Cape",
    "Cedar",
    "Clear",
    "Copper",
    "Coral",
    "Crest",
    "Delta",
    "Eastern",
    "Elm",
    "Falcon",
    "Fern",
    "Garnet",
    "Glen",
    "Golden",
    "Granite",
    "Harbor",
    "Hazel",
    "Heron",
    "High",
    "Iron",
    "Juniper",
    "Keel",
    "Lake",
    "Linden",
    "Lowland",
    "Maple",
    "Meadow",
    "Mill",
    "Moss",
    "North",
    "Oak",
    "Opal",
    "Orchard",
    "Pine",
    "Quarry",
    "Raven",
    "Ridge",
    "River",
    "Rowan",
    "Saffron",
    "Sage",
    "Silver",
    "Slate",
    "South",
    "Spruce",
    "Stone",
    "Summit",
    "Thistle",
    "Tidal",
    "Union",
    "Upland",
    "Vale",
    "Western",
    "Willow",
    "Winter",
]
ENDINGS = ["plc", "Inc.", "AG", "Ltd", "SA", "Group", "Holdings", "Co."]
OWNERS = ["Ana", "Ben", "Chidi", "Dilek", "Emeka", "Freya", "Goran", "Hina", "Ines", "Jonas"]


def investments(count=1000):
    """`count` rows (InvestmentID, Name, SectorGroup); about one sector group in twenty is empty."""
    dice = random.Random(2014)
    trades = [(sector, trade) for sector, names in SECTORS.items() for trade in names]
    names = [
        (f"{place} {trade} {dice.choice(ENDINGS)}", sector)
        for place, (sector, trade) in itertools.product(PLACES, trades)
    ]
    chosen = sorted(dice.sample(names, count))
    return [
        (number, name, "" if dice.random() < 0.05 else sector)
        for number, (name, sector) in enumerate(chosen, 1)
    ]


def accounts():
    """Ten rows (id, owner, balance): 1000 each, 10 000 in all."""
    return [(number, owner, 1000) for number, owner in enumerate(OWNERS, 1)]


def text(header, rows):
    """The rows as CSV text with newline line ends."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def samples():
    """File name -> CSV text of every sample."""
    return {
        "investments.csv": text(("InvestmentID", "Name", "SectorGroup"), investments()),
        "accounts.csv": text(("id", "owner", "balance"), accounts()),
    }


if __name__ == "__main__":
    for name, content in samples().items():
        (HERE / name).write_bytes(content.encode("utf-8"))
