"""What `docs/venues.md` says a channel was verified on is what there is of it among the recorded frames."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recorder.venues import Evidence, Venue, venues
from tests.contract.test_samples import EXPECTED, decoded, received

# How files begin whose frames were recorded whole, and those in which somebody published single messages; all others
# are examples of documentation. As the list of the recordings says it.
RECORDED = ("cryptofeed_", "gocryptotrader_", "crypto_", "stock_", "probe_")
CAPTURED = ("captured_", "cryptomsgparser_", "tardis_", "xchange_")
RANKS = [Evidence.RECORDED, Evidence.CAPTURED, Evidence.DOCUMENTED]


def kind(name: str) -> Evidence:
    """What a file is."""
    if name.startswith(RECORDED):
        return Evidence.RECORDED
    return Evidence.CAPTURED if name.startswith(CAPTURED) else Evidence.DOCUMENTED


def seen(venue: Venue) -> Iterator[tuple[str, Evidence]]:
    """Every channel that brought data in a file, by its name in the table of channels, and what the file is."""
    for name in EXPECTED[venue.name][1]:
        for piece in decoded(venue.name, received(venue.name, name), 5000):
            for spelled in piece.messages:
                channel = venue.channel(spelled)
                if channel is not None:
                    yield channel.name, kind(name)


@pytest.mark.parametrize("venue", venues().values(), ids=lambda venue: venue.name)
def test_evidence_is_what_there_is(venue: Venue) -> None:
    """The best that was seen of each channel, no better and no worse."""
    found = {channel.name: Evidence.DOCUMENTED for channel in venue.channels}
    for name, evidence in seen(venue):
        found[name] = min(found[name], evidence, key=RANKS.index)
    assert {channel.name: channel.evidence for channel in venue.channels} == found
