import datetime as dt
import xml.etree.ElementTree as ET
from typing import Final

import pyotp
import pytest

from identity import totp
from identity.recovery_codes import COUNT, digest_of, new_codes

NOW: Final = dt.datetime(2026, 3, 1, 12, 0, 10, tzinfo=dt.UTC)
SECRET: Final = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def code(steps: int) -> str:
    return pyotp.TOTP(SECRET).at(NOW + dt.timedelta(seconds=30 * steps))


@pytest.mark.parametrize(("steps", "is_accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_counts_one_step_early_or_late_and_no_more(steps: int, is_accepted: bool) -> None:
    assert (totp.step_of(SECRET, code(steps), NOW) is not None) is is_accepted


def test_a_step_that_was_used_and_those_before_it_count_no_more() -> None:
    step = totp.step_of(SECRET, code(0), NOW)
    assert step is not None
    assert totp.step_of(SECRET, code(0), NOW, after=step) is None
    assert totp.step_of(SECRET, code(-1), NOW, after=step) is None
    assert totp.step_of(SECRET, code(1), NOW, after=step) == step + 1


@pytest.mark.parametrize("text", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "-12345", "12 34 5", "1" * 100_000])
def test_what_is_no_code_is_none(text: str) -> None:
    assert totp.step_of(SECRET, text, NOW) is None


def test_a_code_may_be_typed_in_groups() -> None:
    digits = code(0)
    assert totp.step_of(SECRET, f" {digits[:3]} {digits[3:]}\n", NOW)


def test_the_picture_is_svg_without_styles_scripts_or_links() -> None:
    address = totp.address_of(SECRET, "ana & <bo>@example.org")
    assert address.startswith("otpauth://totp/Kith:")
    drawn = totp.picture_of(address)
    names = {element.tag for element in ET.fromstring(drawn).iter()}  # noqa: S314 - ours
    assert names <= {"svg", "path", "g"}
    assert "style" not in drawn
    assert SECRET not in drawn
    assert totp.spelled(SECRET).split() == ["JBSW", "Y3DP", "EHPK", "3PXP"] * 2


def test_recovery_codes_differ_and_are_read_however_they_are_typed() -> None:
    codes = new_codes()
    assert len(set(codes)) == COUNT
    for each in codes:
        assert len(each) == 19
        assert digest_of(each) == digest_of(each.upper().replace("-", " ") + " ")
    assert len({digest_of(each) for each in codes}) == COUNT
