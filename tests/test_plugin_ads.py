"""ClassAds as HTCondor's own library writes and reads them."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegasus_toolkit.cli import plugin_ads

if sys.platform != "linux":
    pytest.skip("HTCondor's library is there for Linux alone", allow_module_level=True)

import classad2

TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=30)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_what_htcondor_writes_is_read(url: str, file: str) -> None:
    ad = classad2.ClassAd({"Url": url, "LocalFileName": file})
    assert plugin_ads.read(str(ad).encode()) == [{"url": url, "localfilename": file}]


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=4))
def test_what_is_written_htcondor_reads(texts: list[str]) -> None:
    ads = [{"TransferError": one, "TransferErrorData": [{"ErrorString": one}]} for one in texts]
    found = list(classad2.parseAds(plugin_ads.encode(ads).decode()))
    assert [ad["TransferError"] for ad in found] == texts
    assert [ad.eval("TransferErrorData")[0]["ErrorString"] for ad in found] == texts


def test_values_of_all_kinds() -> None:
    value = {"B": True, "F": False, "I": -3, "R": 0.25, "U": None, "L": [1, "x"], "A": {"B": 2}, "E": []}
    ad = classad2.parseOne(plugin_ads.write(value))
    assert (ad["B"], ad["F"], ad["I"], ad["R"]) == (True, False, -3, 0.25)
    assert ad["U"] is classad2.Value.Undefined
    assert (list(ad["L"]), ad["A"]["B"], list(ad["E"])) == ([1, "x"], 2, [])
    assert plugin_ads.read(str(ad).encode()) == [{k.lower(): v for k, v in value.items()} | {"a": {"b": 2}}]


def test_names_that_are_not_utf8_stay_the_same_bytes() -> None:
    (ad,) = plugin_ads.read(b'[ LocalFileName = "/x/\xff\\377" ]')
    assert ad["localfilename"].encode("utf-8", "surrogateescape") == b"/x/\xff\xff"
    assert b'"/x/\xff\xff"' in plugin_ads.encode([ad])


def test_expressions_comments_and_unknown_attributes_are_passed_over() -> None:
    text = b"""
    // of another version
    [ PluginData = [ a = f("]", {1, 2}) ? x : y; b = 1 ]; Url = "s3://a/b"; /* ; ] */
      'odd name' = 5 + (3 * -2); ; Requirements = TARGET.x == "\\"];"; LocalFileName = "/tmp/f" ]
    [ Url = "x://y"; LocalFileName = "g" ]"""
    first, second = plugin_ads.read(text)
    assert (first["url"], first["localfilename"], second["url"]) == ("s3://a/b", "/tmp/f", "x://y")
    assert first["odd name"] == plugin_ads.Expression("5 + (3 * -2)")
    assert first["plugindata"] == {"a": plugin_ads.Expression('f("]", {1, 2}) ? x : y'), "b": 1}


@pytest.mark.parametrize("text", [b"Url", b"[ Url = ", b"[ = 3 ]", b"{1}"])
def test_what_is_no_ad_is_an_error_with_its_line(text: bytes) -> None:
    with pytest.raises(plugin_ads.AdError, match="line 3"):
        plugin_ads.read(b"[ a = 1 ]\n\n" + text)


def test_the_jobs_ad_in_the_old_form() -> None:
    ad = classad2.ClassAd({"Environment": "A='x \"y\" \\z' B=2", "Cluster": 7, "Ok": True})
    found = plugin_ads.read_lines(ad.printOld().encode())
    assert found == {"environment": "A='x \"y\" \\z' B=2", "cluster": 7, "ok": True}
