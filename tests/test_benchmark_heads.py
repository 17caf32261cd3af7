"""The benchmark of the fused head runs, and refuses to time a wrong answer."""

import json

import pytest

from benchmarks import heads

SMALL = ["--shape", "small", "--rounds", "1"]


@pytest.mark.thorough
@pytest.mark.parametrize("more", [[], ["--kept", "0.25"]], ids=["all", "kept"])
def test_it_runs_and_writes_what_it_measured(tmp_path, more):
    path = tmp_path / "heads.json"
    assert heads.main([*SMALL, *more, "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    measured = [line for line in found["results"] if line["status"] == "measured"]
    assert len(measured) >= 2
    assert all(line["seconds"] > 0 and line["error"] < 2e-4 for line in measured)


@pytest.mark.thorough
@pytest.mark.parametrize("more", [[], ["--kept", "0.25"]], ids=["all", "kept"])
def test_a_wrong_answer_is_not_timed(monkeypatch, more):
    right = heads.jaxloss.linear_softmax_cross_entropy

    def wrong(*arrays, **options):
        return 1.01 * right(*arrays, **options)

    monkeypatch.setattr(heads.jaxloss, "linear_softmax_cross_entropy", wrong)
    assert heads.main([*SMALL, *more]) == 1


def test_a_share_that_is_none_is_refused():
    with pytest.raises(SystemExit):
        heads.main([*SMALL, "--kept", "1.5"])
